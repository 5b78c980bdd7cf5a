/* holes.h - the address ranges that the driver's checkpoint unmaps are kept free for its restore.
 *
 * The driver puts its mappings back with MAP_FIXED; whatever a thread mapped there meanwhile would be
 * replaced without a word (google/gvisor issue 14776 met this). Control thread only; the program's other
 * threads are held by the supervisor between the two calls.
 */
#ifndef CK_HOLES_H
#define CK_HOLES_H

#include "base/err.h"

/* ck_holes_before - remember what is mapped now. 0 or -1 with err. */
int ck_holes_before(struct ck_err *err);

/* ck_holes_reserve - map PROT_NONE whatever was mapped then and is not now. 0 or -1 with err. */
int ck_holes_reserve(struct ck_err *err);

#endif
