// SPDX-License-Identifier: GPL-2.0-only
/* Loading puts /proc/firesteel there and nothing else: hooks and memory come with the reader and go with it. */
#include <linux/init.h>

#include "firesteel.h"

static int __init firesteel_init(void)
{
	return fst_proc_create();
}

static void __exit firesteel_exit(void)
{
	fst_proc_remove();
}

module_init(firesteel_init);
module_exit(firesteel_exit);

MODULE_LICENSE("GPL");
MODULE_AUTHOR("The Firesteel authors");
MODULE_DESCRIPTION("Firesteel: tells what sockets do to one reader");
MODULE_VERSION(FS_KMOD_VERSION);
