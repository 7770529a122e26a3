{{- /* SPDX-License-Identifier: Apache-2.0 */ -}}
{{- /* The table of capability profiles: what each may do after drop ALL, and which folders of the node it sees, read-only
unless they end in :rw. A test compares it with collector/capabilities.py. */ -}}
{{- define "firesteel.profiles" -}}
core:
  capabilities: [BPF, PERFMON, NET_ADMIN, SETUID, SETGID, SETPCAP]
  mounts: [/sys/fs/cgroup]
bcc:
  capabilities: [SYS_ADMIN, SYS_RESOURCE, NET_ADMIN, SETUID, SETGID, SETPCAP]
  mounts: [/sys/fs/cgroup, /lib/modules, /usr/src, /sys/kernel/tracing]
  suffix: -full
kmod:
  capabilities: [SYS_MODULE, NET_ADMIN, SETUID, SETGID, SETPCAP]
  mounts: [/sys/fs/cgroup, "/var/lib/firesteel/modules:rw"]
none:
  capabilities: [SETUID, SETGID, SETPCAP]
  mounts: [/sys/fs/cgroup]
{{- end -}}

{{- /* Which nodes are whose: core has those without the label, and nobody those without a kernel that pods share. */ -}}
{{- define "firesteel.profile-term" -}}
{{- if eq . "core" -}}
- {key: firesteel/profile, operator: NotIn, values: [bcc, kmod, none, "off"]}
{{- else -}}
- {key: firesteel/profile, operator: In, values: [{{ . }}]}
{{- end }}
- {key: eks.amazonaws.com/compute-type, operator: NotIn, values: [fargate]}
- {key: type, operator: NotIn, values: [virtual-kubelet]}
{{- end -}}
