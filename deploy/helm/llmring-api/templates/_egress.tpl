{{/* The way out: names, and the servers that a pod reaches: (dict "root" $ "reaches" (list "kafka")). */}}
{{- define "llmring.egress" -}}
{{- $values := .root.Values }}
- ports:
    - {port: 53, protocol: UDP}
    - {port: 53, protocol: TCP}
{{- if has "database" .reaches }}
- ports:
    - {port: {{ $values.database.port }}}
  {{- with $values.networkPolicy.databaseTo }}
  to: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{- if has "redis" .reaches }}
- ports:
    - {port: {{ $values.redis.port }}}
  {{- with $values.networkPolicy.redisTo }}
  to: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{- if has "kafka" .reaches }}
- ports:
    {{- $ports := list }}
    {{- range $broker := splitList "," $values.kafka.bootstrap }}
    {{- $ports = append $ports (regexFind "[0-9]+$" (trim $broker)) }}
    {{- end }}
    {{- range $port := uniq $ports }}
    - {port: {{ $port }}}
    {{- end }}
  {{- with $values.networkPolicy.kafkaTo }}
  to: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{- if and $values.telemetry.otlpEndpoint .reaches }}
- ports:
    - {port: {{ regexFind ":[0-9]+" (urlParse $values.telemetry.otlpEndpoint).host | trimPrefix ":" | default (ternary "443" "80" (hasPrefix "https" $values.telemetry.otlpEndpoint)) }}}
  {{- with $values.networkPolicy.otlpTo }}
  to: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{- with $values.networkPolicy.extraEgress }}
{{ toYaml . }}
{{- end }}
{{- end }}
