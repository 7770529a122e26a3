{{- /* SPDX-License-Identifier: Apache-2.0 */ -}}
{{- define "firesteel.name" -}}
{{- if contains "firesteel" .Release.Name -}}{{ .Release.Name | trunc 40 | trimSuffix "-" }}{{- else -}}
{{ printf "%s-firesteel" (.Release.Name | trunc 30 | trimSuffix "-") }}{{- end -}}
{{- end -}}

{{- define "firesteel.account" -}}
{{ .Values.serviceAccount.name | default (include "firesteel.name" .) }}
{{- end -}}

{{- /* Labels that select: they never change. */ -}}
{{- define "firesteel.selector" -}}
app.kubernetes.io/name: firesteel
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "firesteel.labels" -}}
{{ include "firesteel.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- /* Of (root, suffix of the tag, digest). */ -}}
{{- define "firesteel.image" -}}
{{- $root := index . 0 -}}
{{- $registry := $root.Values.global.imageRegistry | trimSuffix "/" -}}
{{- $repository := $root.Values.image.repository -}}
{{- if $registry }}{{ $registry }}/{{ end }}{{ $repository }}
{{- with index . 2 }}@{{ . }}{{ else }}:{{ $root.Values.image.tag | default $root.Chart.AppVersion }}{{ index $ 1 }}{{ end -}}
{{- end -}}

{{- define "firesteel.pull-secrets" -}}
{{- with .Values.global.imagePullSecrets -}}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end -}}

{{- /* The configuration as the agents get it: what was given, and where Prometheus finds them. */ -}}
{{- define "firesteel.config" -}}
{{- $listen := merge (dict "metrics" (printf ":%d" (int .Values.metricsPort))) (default dict .Values.config.listen) -}}
{{- $config := merge (dict "listen" $listen) .Values.config -}}
{{- if .Values.names.enabled -}}
{{- $own := dict "names" (printf "%s:%d" (include "firesteel.names-host" .) (int .Values.names.port)) "names_ca" "/etc/firesteel-names/ca.crt" -}}
{{- $kubernetes := merge (dict) (default dict .Values.config.kubernetes) $own -}}
{{- $config = merge (dict "kubernetes" $kubernetes) $config -}}
{{- end -}}
{{- toYaml $config -}}
{{- end -}}

{{- define "firesteel.names-host" -}}
{{ include "firesteel.name" . }}-names.{{ .Release.Namespace }}.svc
{{- end -}}

{{- define "firesteel.names-secret" -}}
{{ .Values.names.tls.secretName | default (printf "%s-names-tls" (include "firesteel.name" .)) }}
{{- end -}}

{{- /* Of (root, text of rules or a dashboard): it reads metrics by the names that the agents give them. */ -}}
{{- define "firesteel.prefixed" -}}
{{- $metrics := default dict (index . 0).Values.config.metrics -}}
{{- index . 1 | replace "kindling_" (printf "%s_" ($metrics.prefix | default "kindling")) -}}
{{- end -}}

{{- /* HTTP or HTTPS, as the configuration has it. */ -}}
{{- define "firesteel.scheme" -}}
{{- $listen := default dict .Values.config.listen -}}
{{- $tls := default dict $listen.tls -}}
{{- if $tls.cert }}HTTPS{{ else }}HTTP{{ end -}}
{{- end -}}

{{- /* Whether a listener asks the API server who a client is. */ -}}
{{- define "firesteel.reviews-tokens" -}}
{{- $listen := default dict .Values.config.listen -}}
{{- if or (eq (default "" $listen.auth) "kubernetes") (eq (default "" $listen.metrics_auth) "kubernetes") }}true{{ end -}}
{{- end -}}
