{{/* The chart's name. */}}
{{- define "llmring.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" }}
{{- end }}

{{/* The stem of every object's name: 50 characters, so that the longest suffix still fits into 63. */}}
{{- define "llmring.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- else if contains (include "llmring.name" .) .Release.Name }}
{{- .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "llmring.name" .) | trunc 50 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/* What selects all pods of this release. */}}
{{- define "llmring.releaseSelector" -}}
app.kubernetes.io/name: {{ include "llmring.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* What selects the pods of one process: (dict "root" $ "process" "gateway"). */}}
{{- define "llmring.selector" -}}
{{ include "llmring.releaseSelector" .root }}
app.kubernetes.io/component: {{ .process }}
{{- end }}

{{/* Labels of an object that belongs to one process: (dict "root" $ "process" "gateway"). */}}
{{- define "llmring.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/part-of: llmring-api
{{ include "llmring.selector" . }}
{{- end }}

{{- define "llmring.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{- define "llmring.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{ .Values.serviceAccount.name | default (include "llmring.fullname" .) }}
{{- else -}}
{{ .Values.serviceAccount.name | default "default" }}
{{- end -}}
{{- end }}

{{/* Whether anybody is to fetch metrics: "true" or nothing. */}}
{{- define "llmring.metrics" -}}
{{- if or .Values.metrics.enabled .Values.metrics.scrapeAnnotations .Values.metrics.podMonitor.enabled }}true{{ end }}
{{- end }}
