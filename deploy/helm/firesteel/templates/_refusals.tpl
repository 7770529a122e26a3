{{- /* SPDX-License-Identifier: Apache-2.0 */ -}}
{{- /* Rules of several keys, which a schema cannot say: with these values agents would end at once, again and again. collector/config_rules.py
has them all. Nothing is refused where a variable may say otherwise, for it goes before the file. */ -}}
{{- define "firesteel.refusals" -}}
{{- if not (include "firesteel.is-set-by-variable" (list . "LISTEN")) -}}
{{- $listen := default dict .Values.config.listen -}}
{{- $tls := default dict $listen.tls -}}
{{- if ne (empty $tls.cert) (empty $tls.key) -}}
{{- fail "config.listen.tls: a certificate needs its key, and a key its certificate: set both cert and key, or neither" -}}
{{- end -}}
{{- $api := default "127.0.0.1:9501" $listen.api -}}
{{- if ne $api "off" -}}
{{- if and (eq (default "none" $listen.auth) "none") (not (regexMatch "^(localhost|127[.][0-9.]+|\\[[0:]*:0*1\\]):" $api)) -}}
{{- fail (printf "config.listen.api: %s can be reached from other machines, and config.listen.auth is none: set it to kubernetes or the path of a file with a token, or take an address on loopback" $api) -}}
{{- end -}}
{{- if eq (regexFind "[0-9]+$" $api | int) (int .Values.metricsPort) -}}
{{- fail (printf "config.listen.api: %s has the port of metricsPort (%d): take two different ports" $api (int .Values.metricsPort)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
