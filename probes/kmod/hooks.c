// SPDX-License-Identifier: GPL-2.0-only
/*
 * Puts the hooks of handlers.c in place, takes them off, and tells what became of each.
 *
 * A thread that is blocked in a receive holds one instance of the kretprobe (a default one, of 2 per processor, would lose
 * nearly everything), hence the parameter. What is missed all the same is counted by the kernel, and told.
 */
#include <linux/moduleparam.h>

#include "hooks.h"

static unsigned int maxactive = 4096;
module_param(maxactive, uint, 0644);
MODULE_PARM_DESC(maxactive, "threads that may be inside each watched function at a time, from the next reader on");

static const char *const kind_names[] = {"kretprobe", "kprobe", "tracepoint"};

static bool in_place(const char *name)
{
	size_t i;

	for (i = 0; i < fst_hook_count; i++)
		if (!fst_hooks[i].result && !strcmp(fst_hooks[i].name, name))
			return true;
	return false;
}

/* The kernel wants its structures as new, also those that it had before. */
static int place(struct fst_hook *hook)
{
	switch (hook->kind) {
	case FST_TRACEPOINT: return fst_tracepoint_place(hook->name, hook->on_event);
	case FST_KPROBE:
		memset(&hook->probe, 0, sizeof(hook->probe));
		hook->probe.symbol_name = hook->name;
		hook->probe.pre_handler = hook->on_hit;
		return register_kprobe(&hook->probe);
	case FST_KRETPROBE:
		memset(&hook->returns, 0, sizeof(hook->returns));
		hook->returns.kp.symbol_name = hook->name;
		hook->returns.entry_handler = hook->on_entry;
		hook->returns.handler = hook->on_return;
		hook->returns.data_size = sizeof(struct fst_call);
		hook->returns.maxactive = clamp_t(unsigned int, READ_ONCE(maxactive), 16, 65536);
		return register_kretprobe(&hook->returns);
	}
	return -EINVAL;
}

/*
 * After this no handler runs or begins. Threads that are still inside of a watched function return through the kernel's
 * own code, which finds nobody to tell. Probes of a kind are taken off together: the kernel waits for all processors each
 * time.
 */
void fst_hooks_remove(void)
{
	static struct kretprobe *returns[FST_MOST_HOOKS];
	static struct kprobe *probes[FST_MOST_HOOKS];
	int return_count = 0, probe_count = 0;
	size_t i = fst_hook_count;

	while (i--) {
		struct fst_hook *hook = &fst_hooks[i];
		int result = hook->result;
		hook->result = FST_NOT_TRIED;
		if (result)
			continue;
		switch (hook->kind) {
		case FST_TRACEPOINT: fst_tracepoint_remove(hook->name, hook->on_event); break;
		case FST_KPROBE: probes[probe_count++] = &hook->probe; break;
		case FST_KRETPROBE: returns[return_count++] = &hook->returns; break;
		}
	}
	unregister_kretprobes(returns, return_count);
	unregister_kprobes(probes, probe_count);
	tracepoint_synchronize_unregister();
	fst_wait_for_hooks();
}

/* 0, or the error of the first required one. */
int fst_hooks_place(void)
{
	size_t i;

	for (i = 0; i < fst_hook_count; i++)
		fst_hooks[i].result = FST_NOT_TRIED;
	for (i = 0; i < fst_hook_count; i++) {
		struct fst_hook *hook = &fst_hooks[i];
		if (hook->instead_of && in_place(hook->instead_of))
			hook->result = FST_NOT_NEEDED;
		else
			hook->result = place(hook);
		/* A required tracepoint may be missing: what comes instead stands further down. */
		if (hook->result < 0 && hook->required && hook->kind != FST_TRACEPOINT)
			return hook->result;
	}
	return 0;
}

static u64 missed(const struct fst_hook *hook)
{
	if (hook->result || hook->kind == FST_TRACEPOINT)
		return 0;
	if (hook->kind == FST_KPROBE)
		return READ_ONCE(hook->probe.nmissed);
	return (u64)READ_ONCE(hook->returns.nmissed) + READ_ONCE(hook->returns.kp.nmissed);
}

u64 fst_hooks_missed(void)
{
	u64 total = 0;
	size_t i;

	for (i = 0; i < fst_hook_count; i++)
		total += missed(&fst_hooks[i]);
	return total;
}

int fst_hook_describe(struct fs_kmod_hook *row)
{
	const struct fst_hook *hook;
	u32 index = row->index;

	if (index >= fst_hook_count)
		return -ENOENT;
	hook = &fst_hooks[index];
	memset(row, 0, sizeof(*row));
	row->index = index;
	snprintf(row->name, sizeof(row->name), "%s", hook->name);
	snprintf(row->kind, sizeof(row->kind), "%s", kind_names[hook->kind]);
	row->result = hook->result;
	row->missed = missed(hook);
	return 0;
}

/* /sys/module/firesteel/parameters/missed */
static int show_missed(char *buffer, const struct kernel_param *parameter)
{
	return scnprintf(buffer, PAGE_SIZE, "%llu\n", (unsigned long long)fst_hooks_missed());
}

static const struct kernel_param_ops missed_operations = {.get = show_missed};
module_param_cb(missed, &missed_operations, NULL, 0444);
MODULE_PARM_DESC(missed, "calls that no hook saw since the reader came: more threads inside than maxactive");
