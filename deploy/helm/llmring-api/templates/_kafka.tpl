{{/* The certificates by which every process speaks to the brokers: mounts, and what is mounted. */}}
{{- define "llmring.kafkaMounts" -}}
{{- range $name := list "ca" "client" }}
{{- if get $.Values.kafka (printf "%sSecret" $name) }}
- {name: kafka-{{ $name }}, mountPath: /etc/llmring/kafka-{{ $name }}, readOnly: true}
{{- end }}
{{- end }}
{{- end }}

{{- define "llmring.kafkaVolumes" -}}
{{- range $name := list "ca" "client" }}
{{- with get $.Values.kafka (printf "%sSecret" $name) }}
- name: kafka-{{ $name }}
  secret: {secretName: {{ . | quote }}}
{{- end }}
{{- end }}
{{- end }}
