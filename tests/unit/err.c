/* Errors: code, text, cut to fit, context in front. */
#include <errno.h>
#include <string.h>

#include "../../shim/base/err.h"
#include "tap.h"

int main(void)
{
	struct ck_err e;
	char big[3000];
	memset(big, 'x', sizeof big - 1);
	big[sizeof big - 1] = 0;
	is_int(ck_err_set(&e, CK_EDAMAGED, 0, "page %d", 7), -1, "set returns -1");
	is_str(e.msg, "page 7", "its text");
	is_int(e.code, CK_EDAMAGED, "its code");
	ck_err_set(&e, CK_ESYS, ENOENT, "open x");
	is_str(e.msg, "open x: No such file or directory", "errno's text is appended");
	is_int(e.sys, ENOENT, "and kept");
	static const struct {
		int sys;
		enum ck_errc code;
	} map[] = { { ENOSPC, CK_ENOSPC }, { EDQUOT, CK_ENOSPC }, { EFBIG, CK_ENOSPC }, { EIO, CK_ESYS } };
	for (size_t i = 0; i < sizeof map / sizeof map[0]; i++) {
		errno = map[i].sys;
		is_int(ck_err_errno(&e, "write"), -1, "errno %d", map[i].sys);
		is_int(e.code, map[i].code, "has the right code");
	}
	ck_err_set(&e, CK_EDAMAGED, 0, "footer");
	is_int(ck_err_wrap(&e, "file %s", "a.ck"), -1, "wrap returns -1");
	is_str(e.msg, "file a.ck: footer", "context stands in front");
	is_int(e.code, CK_EDAMAGED, "the code stays");
	ck_err_set(&e, CK_ESYS, EIO, "%s", big);
	is_int(strlen(e.msg), sizeof e.msg - 1, "a long text is cut");
	ck_err_wrap(&e, "%s", big);
	is_int(strlen(e.msg), sizeof e.msg - 1, "so is a long context");
	ck_err_wrap(&e, "first");
	ok(strncmp(e.msg, "first: xxx", 10) == 0 && strlen(e.msg) == sizeof e.msg - 1, "and one before a long text");
	return tap_done();
}
