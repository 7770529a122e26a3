// SPDX-License-Identifier: GPL-2.0-only
/*
 * /proc/firesteel: one reader at a time, and what it is given (see interface.h).
 *
 * Everything hangs on one count: the open file, each descriptor that was handed out, each mapping. When it falls to zero
 * the hooks are taken off, then the memory goes. That may be in the exit of a process that was killed.
 */
#include <linux/anon_inodes.h>
#include <linux/capability.h>
#include <linux/kref.h>
#include <linux/mutex.h>
#include <generated/utsrelease.h>

#include "firesteel.h"

#define FST_MEMORY_SHARE 4 /* at most one part in so many of the machine's memory is reserved */

struct fst_session fst;

static DEFINE_MUTEX(changing); /* serializes start and end; no hook takes it */
static bool is_taken; /* there is a reader, or what one left */
static bool is_started;
static struct kref users;

static void free_memory(void)
{
	fst_connections_free();
	fst_ring_free();
	vfree(fst.control);
	vfree(fst.modes);
	vfree(fst.counters);
	memset(&fst, 0, sizeof(fst));
}

static void end(struct kref *unused)
{
	mutex_lock(&changing);
	if (is_started) {
		fst_hooks_remove();
		free_memory();
		is_started = false;
	}
	is_taken = false;
	mutex_unlock(&changing);
}

/* A reader that asks for much is refused, instead of others losing what they have to it. */
static bool fits(u32 ring_bytes)
{
	struct sysinfo memory;

	si_meminfo(&memory);
	return ring_bytes + fst_connections_bytes() <= (u64)memory.totalram * memory.mem_unit / FST_MEMORY_SHARE;
}

static int start(const struct fs_kmod_start *settings)
{
	int error;

	if (settings->contract != FS_CONTRACT_VERSION)
		return -EPROTO;
	if (settings->hierarchy > FS_KMOD_CGROUP_MEMORY)
		return -EINVAL;
	if (!fits(settings->ring_bytes))
		return -ENOMEM;
	fst.hierarchy = settings->hierarchy;
	fst.pid_namespace = settings->pid_namespace;
	fst.control = vmalloc_user(PAGE_ALIGN(sizeof(*fst.control)));
	fst.modes = vmalloc_user(PAGE_ALIGN(FS_SLOTS * sizeof(*fst.modes)));
	fst.counters = vmalloc_user(PAGE_ALIGN(FS_CPUS * sizeof(*fst.counters)));
	error = fst.control && fst.modes && fst.counters ? fst_ring_create(settings->ring_bytes) : -ENOMEM;
	if (!error)
		error = fst_connections_create();
	if (error) {
		free_memory();
		return error;
	}
	/* Nobody has set an epoch yet: the hooks look, and turn away. */
	error = fst_hooks_place();
	is_started = true; /* a failed start is over at the close: until then its rows can be read */
	return error;
}

/* --- the parts --------------------------------------------------------------------------------------------------- */

static int part_release(struct inode *inode, struct file *file)
{
	kref_put(&users, end);
	return 0;
}

static int map_ring(struct file *file, struct vm_area_struct *vma)
{
	return fst_ring_map(vma);
}

static int map_control(struct file *file, struct vm_area_struct *vma)
{
	fst_vma_restrict(vma, true);
	return remap_vmalloc_range(vma, fst.control, vma->vm_pgoff);
}

static int map_modes(struct file *file, struct vm_area_struct *vma)
{
	fst_vma_restrict(vma, true);
	return remap_vmalloc_range(vma, fst.modes, vma->vm_pgoff);
}

static int map_counters(struct file *file, struct vm_area_struct *vma)
{
	if (vma->vm_flags & VM_WRITE)
		return -EPERM;
	fst_vma_restrict(vma, false);
	return remap_vmalloc_range(vma, fst.counters, vma->vm_pgoff);
}

static ssize_t read_seed(struct file *file, char __user *buffer, size_t bytes, loff_t *position)
{
	return fst_seed();
}

static const struct file_operations part_operations[] = {
	[FS_KMOD_RING] = {.owner = THIS_MODULE, .release = part_release, .mmap = map_ring},
	[FS_KMOD_CONTROL] = {.owner = THIS_MODULE, .release = part_release, .mmap = map_control},
	[FS_KMOD_MODES] = {.owner = THIS_MODULE, .release = part_release, .mmap = map_modes},
	[FS_KMOD_COUNTERS] = {.owner = THIS_MODULE, .release = part_release, .mmap = map_counters},
	[FS_KMOD_SEED] = {.owner = THIS_MODULE, .release = part_release, .read = read_seed},
};

static int open_part(unsigned long part)
{
	int descriptor;

	if (part >= ARRAY_SIZE(part_operations))
		return -EINVAL;
	kref_get(&users);
	descriptor = anon_inode_getfd("firesteel", &part_operations[part], NULL, O_RDWR | O_CLOEXEC);
	if (descriptor < 0)
		kref_put(&users, end);
	return descriptor;
}

/* --- the file ---------------------------------------------------------------------------------------------------- */

/* The mode alone would let every container's root in. */
static int on_open(struct inode *inode, struct file *file)
{
	int error = 0;

	if (!capable(CAP_SYS_MODULE))
		return -EPERM;
	if (!try_module_get(THIS_MODULE))
		return -ENODEV;
	mutex_lock(&changing);
	if (is_taken) {
		error = -EBUSY;
	} else {
		is_taken = true;
		kref_init(&users);
	}
	mutex_unlock(&changing);
	if (error)
		module_put(THIS_MODULE);
	return error;
}

static int on_release(struct inode *inode, struct file *file)
{
	kref_put(&users, end);
	module_put(THIS_MODULE);
	return 0;
}

static long hello(void __user *argument)
{
	struct fs_kmod_hello answer = {
		.magic = FS_MAGIC,
		.interface = FS_KMOD_INTERFACE,
		.contract = FS_CONTRACT_VERSION,
		.schema = FS_SCHEMA_VERSION,
		.version = FS_KMOD_VERSION,
	};

	snprintf(answer.built_for, sizeof(answer.built_for), "%s", UTS_RELEASE);
	return copy_to_user(argument, &answer, sizeof(answer)) ? -EFAULT : 0;
}

static long describe_hook(void __user *argument)
{
	struct fs_kmod_hook row;
	long error;

	if (copy_from_user(&row, argument, sizeof(row)))
		return -EFAULT;
	mutex_lock(&changing);
	error = is_started ? fst_hook_describe(&row) : -ENODEV;
	mutex_unlock(&changing);
	if (!error && copy_to_user(argument, &row, sizeof(row)))
		error = -EFAULT;
	return error;
}

static long on_ioctl(struct file *file, unsigned int command, unsigned long argument)
{
	struct fs_kmod_start settings;
	long result;

	switch (command) {
	case FS_KMOD_HELLO: return hello((void __user *)argument);
	case FS_KMOD_HOOK: return describe_hook((void __user *)argument);
	case FS_KMOD_START:
		if (copy_from_user(&settings, (void __user *)argument, sizeof(settings)))
			return -EFAULT;
		mutex_lock(&changing);
		result = is_started ? -EALREADY : start(&settings);
		mutex_unlock(&changing);
		return result;
	case FS_KMOD_OPEN:
		mutex_lock(&changing);
		result = is_started ? 0 : -ENODEV;
		mutex_unlock(&changing);
		return result ? result : open_part(argument);
	default: return -ENOTTY;
	}
}

FST_PROC_OPERATIONS(operations, on_open, on_release, on_ioctl);

int fst_proc_create(void)
{
	return proc_create("firesteel", 0400, NULL, &operations) ? 0 : -ENOMEM;
}

/* Waits for whoever is inside one of the functions above. */
void fst_proc_remove(void)
{
	remove_proc_entry("firesteel", NULL);
}
