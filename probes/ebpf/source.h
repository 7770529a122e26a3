/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Which way a program finds the bytes. The way is a constant in each, so only that one is compiled into it. */
#ifndef FIRESTEEL_SOURCE_H
#define FIRESTEEL_SOURCE_H

#include "iterator.h"
#ifndef FS_UNTYPED /* what proves whose buffer it is needs 6.2 */
#include "registers.h"
#endif

static __always_inline void find_source(struct source *source, const struct operation *operation)
{
	__builtin_memset(source, 0, sizeof(*source));
	if (operation->way == BY_ITERATOR)
		find_by_iterator(source, operation);
#ifndef FS_UNTYPED
	else if (operation->way == BY_REGISTERS)
		find_by_registers(source, operation);
#endif
	else
		source->reason = FS_REASON_KERNEL_BUFFER;
#ifdef FS_HEADERS
	put_together(source, operation->result);
#endif
}

#endif
