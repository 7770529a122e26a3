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
{{- $interval := include "firesteel.scrape-interval" . -}}
{{- /* 30s is what agents take by themselves. */ -}}
{{- if ne $interval "30s" -}}
{{- $metrics := merge (dict) (default dict .Values.config.metrics) (dict "scrape_interval" $interval) -}}
{{- $config = merge (dict "metrics" $metrics) $config -}}
{{- end -}}
{{- if .Values.names.enabled -}}
{{- $own := dict "names" (printf "%s:%d" (include "firesteel.names-host" .) (int .Values.names.port)) "names_ca" "/etc/firesteel-names/ca.crt" -}}
{{- $kubernetes := merge (dict) (default dict .Values.config.kubernetes) $own -}}
{{- $config = merge (dict "kubernetes" $kubernetes) $config -}}
{{- end -}}
{{- toYaml $config -}}
{{- end -}}

{{- /* How often Prometheus scrapes the agents: what the configuration says, else what the monitors do. A new counter shows 0 for so long, so
a slower Prometheus may never see its first counts grow. */ -}}
{{- define "firesteel.scrape-interval" -}}
{{- $metrics := default dict .Values.config.metrics -}}
{{- $interval := (default dict .Values.monitoring.endpoint).interval | default .Values.monitoring.interval | toString -}}
{{- if $metrics.scrape_interval -}}
{{- $interval = $metrics.scrape_interval -}}
{{- else if ne $interval "30s" -}}
{{- $known := regexMatch "^([1-9][0-9]*(ms|s|m|h))+$" $interval -}}
{{- $long := $known | ternary (include "firesteel.milliseconds" $interval) "0" | float64 -}}
{{- if or (lt $long 100.0) (gt $long 3600000.0) -}}
{{- fail (printf "monitoring.interval is %s, which agents do not take as metrics.scrape_interval (100ms to 1h): set another, or config.metrics.scrape_interval" $interval) -}}
{{- end -}}
{{- $ttl := default dict $metrics.ttl -}}
{{- $gauge := include "firesteel.milliseconds" (default "5m" $ttl.gauge) | float64 -}}
{{- $counter := include "firesteel.milliseconds" (default "1h" $ttl.counter) | float64 -}}
{{- $short := or (lt $gauge $long) (lt $counter (mulf $long 2)) -}}
{{- if and $short (not (include "firesteel.is-set-by-variable" (list . "METRICS"))) -}}
{{- fail (printf "monitoring.interval is %s: config.metrics.ttl.gauge has to be at least that (5m unless it is set), and config.metrics.ttl.counter twice that (1h)" $interval) -}}
{{- end -}}
{{- end -}}
{{- $interval -}}
{{- end -}}

{{- /* Whether a variable may say otherwise than the file, for which it goes: (list . SECTION). */ -}}
{{- define "firesteel.is-set-by-variable" -}}
{{- $prefix := printf "FIRESTEEL_%s__" (index . 1) -}}
{{- range (index . 0).Values.extraEnv -}}{{- if hasPrefix $prefix .name -}}yes{{- end -}}{{- end -}}
{{- end -}}

{{- /* Of a duration as the agents write it. */ -}}
{{- define "firesteel.milliseconds" -}}
{{- $units := dict "ns" 0.000001 "us" 0.001 "ms" 1 "s" 1000 "m" 60000 "h" 3600000 "d" 86400000 -}}
{{- $sum := 0.0 -}}
{{- range regexFindAll "[0-9.]+[a-z]+" . -1 -}}
{{- $sum = addf $sum (mulf (regexFind "^[0-9.]+" .) (index $units (regexFind "[a-z]+$" .))) -}}
{{- end -}}
{{- $sum -}}
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
