/* log.h - ckshim's own lines in a job's log: few, marked, one write(2) each, to standard error.
 *
 * Form: "ckshim: text\n". Never allocates, never touches stdio; keeps errno. Thread-safe.
 * Levels: ck_say always (unless CKSHIM_LOG=quiet), ck_debug only with CKSHIM_LOG=debug.
 */
#ifndef CK_LOG_H
#define CK_LOG_H

/* ck_log_init - read CKSHIM_LOG, once, early. ck_log_fd - where to write; 2 unless set. */
void ck_log_init(void);
void ck_log_fd(int fd);

void ck_say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void ck_debug(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
