/* store.h - where checkpoints lie: STORE/KEY/gen-NNNNNN.
 *
 *   STORE                    CKSHIM_DIR; else $SLURM_SUBMIT_DIR/ckshim-checkpoints; else ./ckshim-checkpoints
 *   KEY = JOB.PROGRAM.HASH   one program of one job
 *     .lock                  flock: one running owner
 *     gen-000007.tmp         being written; never listed
 *     gen-000007             committed
 *     LATEST                 a hint for people; the folder is the truth
 *
 * Restoring runs code from these files. So every folder from STORE down must be owned by the effective
 * user and writable by nobody else, and nothing above may be writable by all without the sticky bit;
 * CK_EUNSAFE names path, owner, mode and remedy. Nothing below STORE is reached through a symbolic link.
 * (A group-writable folder above is accepted: Red Hat's default umask makes every folder so, and who can
 * write there can take the store away but cannot put anything of his own in its place.)
 *
 * Not thread-safe on one ck_store. Descriptors are close-on-exec.
 */
#ifndef CK_STORE_H
#define CK_STORE_H

#include <limits.h>
#include <stddef.h>
#include <stdint.h>

#include "../shim/base/err.h"

#define CK_STORE_FOLDER "ckshim-checkpoints"
#define CK_JOB_MAX 128	/* with the NUL */
#define CK_KEY_MAX 256	/* with the NUL */
#define CK_GEN_MAX 32	/* "gen-4294967295.tmp" and NUL */

/* ---- names ---- */

/* ck_store_locate - absolute path of the store. @dir: --dir/CKSHIM_DIR, or NULL to choose. Makes
 * nothing; the folder need not exist. Returns 0 or -1: CK_EINVAL, CK_ESYS. */
int ck_store_locate(const char *dir, char *path, size_t cap, struct ck_err *err);

/* ck_store_job - the job's name. @job: --job/CKSHIM_JOB, or NULL to choose: SLURM_ARRAY_JOB_ID_TASK_ID,
 * SLURM_JOB_ID, each with .pPROCID when SLURM_NTASKS > 1 says so; else "local". A name is 1..CK_JOB_MAX-1
 * characters of A-Z a-z 0-9 _ + - and dots that are not first (CK_EINVAL otherwise). */
int ck_store_job(const char *job, char *out, size_t cap, struct ck_err *err);

/* ck_store_key - JOB.PROGRAM.HASH for @argv (argv[0] must be there): PROGRAM is argv[0]'s basename with
 * other characters made '_' and cut, HASH 8 hex digits over all of argv. */
int ck_store_key(const char *job, char *const *argv, char *out, size_t cap, struct ck_err *err);

/* ---- keys ---- */

struct ck_store_key_info {
	char key[CK_KEY_MAX];
	uint32_t newest;	/* number of its newest committed generation; 0: none */
	uint64_t mtime_ns;	/* when that one's manifest was written */
};

/* ck_store_keys - the keys in @store, of @job or (NULL) of all jobs, that have a committed generation;
 * the one with the newest generation first. A store that does not exist has none.
 * *@list is malloc'd (free()). Returns 0 or -1: CK_EUNSAFE, CK_ESYS, CK_EINVAL. */
int ck_store_keys(const char *store, const char *job, struct ck_store_key_info **list, size_t *n,
		  struct ck_err *err);

/* ---- one key, open ---- */

struct ck_store;

enum ck_store_flags {
	CK_STORE_CREATE = 1,	/* make STORE and KEY, 0700, if missing (parents of STORE too) */
	CK_STORE_OWN = 2,	/* take .lock: needed to begin, commit, abandon, prune */
};

/* ck_store_open - open a key's folder and check who could have written it. The lock is held as long as
 * any process has the descriptor; it goes with the last of them (exec closes it).
 * Returns 0; or -1: CK_ENOCKPT (not there, without CREATE), CK_EUNSAFE, CK_EBUSY (another run owns it),
 * CK_ENOSPC, CK_ESYS, CK_EINVAL. */
int ck_store_open(const char *store, const char *key, int flags, struct ck_store **out,
		  struct ck_err *err);
/* ck_store_close - NULL is allowed. A generation that was begun stays as .tmp. */
void ck_store_close(struct ck_store *s);
/* The key folder's absolute path and descriptor; both live as long as @s. */
const char *ck_store_path(const struct ck_store *s);
int ck_store_fd(const struct ck_store *s);

/* ck_store_free_bytes - what an ordinary user may still write there (quotas do not show). */
int ck_store_free_bytes(const struct ck_store *s, uint64_t *bytes, struct ck_err *err);

/* ---- generations ---- */

struct ck_gen {
	uint32_t number;
	char name[CK_GEN_MAX];	/* "gen-000007" */
	uint64_t mtime_ns;	/* of manifest.json; 0 if that is missing */
};

/* ck_store_list - committed generations, newest (highest number) first; *@list malloc'd (free()). */
int ck_store_list(const struct ck_store *s, struct ck_gen **list, size_t *n, struct ck_err *err);

/* ck_store_gen_open - a committed generation's folder, checked, O_RDONLY|O_DIRECTORY. The caller closes.
 * Returns the descriptor; or -1: CK_ENOCKPT, CK_EUNSAFE, CK_ESYS. */
int ck_store_gen_open(const struct ck_store *s, uint32_t number, struct ck_err *err);

/* ck_store_begin - make gen-N.tmp, N one above the highest ever seen there, after clearing away what a
 * killed run left as .tmp. Needs OWN. *@dirfd belongs to @s until commit or abandon; *@number may be
 * NULL. Its path is ck_store_path(s)/gen-NNNNNN.tmp (ck_store_begun_path).
 * Returns 0 or -1: CK_ENOSPC, CK_ESYS, CK_EINVAL (one is begun already, or not the owner). */
int ck_store_begin(struct ck_store *s, int *dirfd, uint32_t *number, struct ck_err *err);
const char *ck_store_begun_path(const struct ck_store *s); /* NULL when none is begun */

/* ck_store_commit - make what was begun the newest checkpoint: fsync of every file and folder in it,
 * rename, fsync of the key's folder, LATEST. On failure it is not listed and can be abandoned; only if
 * the last fsync itself fails is it unknown which of the two a power cut would leave.
 * Removes nothing: call ck_store_prune afterwards, when there is time.
 * Returns 0 or -1: CK_ENOSPC, CK_ESYS, CK_EINVAL (no manifest.json in it, nothing begun). */
int ck_store_commit(struct ck_store *s, struct ck_err *err);

/* ck_store_abandon - remove what was begun. Nothing begun: does nothing. What cannot be removed now is
 * never listed, and goes at the next begin. */
void ck_store_abandon(struct ck_store *s);

/* ck_store_prune - remove generations older than the @keep newest valid ones. @valid tells (non-zero)
 * whether the generation open at @dirfd can be restored (ck_manifest_gen_ok fits); NULL: all count.
 * If there are fewer than @keep valid ones nothing is removed. A failure leaves more, never less.
 * keep >= 1. Needs OWN. */
int ck_store_prune(struct ck_store *s, unsigned keep, int (*valid)(int dirfd, void *arg), void *arg,
		   struct ck_err *err);

/* ck_store_remove - remove one committed generation (it is made a .tmp first, so it vanishes at once). */
int ck_store_remove(struct ck_store *s, uint32_t number, struct ck_err *err);

#endif
