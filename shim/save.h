/* save.h - device memory to image files and back. Control thread only, gate shut.
 *
 * A device counts as in use when it holds offloaded allocations; @index runs over those, in order of
 * their ordinals.
 */
#ifndef CK_SAVE_H
#define CK_SAVE_H

#include <stdint.h>

#include "base/err.h"
#include "base/image.h"
#include "cuda_abi.h"

/* ck_save_devices - ordinals of the devices in use, up to @cap; returns how many. */
int ck_save_devices(CUdevice *out, int cap);

/* ck_save_sync - wait until all contexts are idle, until @until_ns. The waiting is done by a thread of its
 * own, so that a kernel which never ends holds nobody past the deadline. 0; or -1 CK_ETIMEOUT, CK_EDRIVER. */
int ck_save_sync(uint64_t until_ns, struct ck_err *err);

/* ck_save_device - write the offloaded memory of device @dev to the empty file @fd.
 * 0 and *@info; or -1: CK_ENOSPC, CK_ESYS, CK_EDRIVER, CK_ETIMEOUT. Device memory is unchanged either way. */
int ck_save_device(CUdevice dev, int fd, uint64_t until_ns, struct ck_image_info *info, struct ck_err *err);

/* ck_save_release - give up the physical memory of every offloaded allocation. On -1 some may be gone:
 * ck_load_device brings those back. */
int ck_save_release(struct ck_err *err);

/* ck_load_device - back every released allocation of @dev with memory and fill it from the image @fd.
 * 0 or -1: CK_EDAMAGED (image and allocations do not agree, or a checksum fails), CK_EDRIVER, ... */
int ck_load_device(CUdevice dev, int fd, uint64_t until_ns, struct ck_err *err);

/* ck_drv_name - the driver's own name of @r, or its number as text (static buffer, control thread only). */
const char *ck_drv_name(CUresult r);

#endif
