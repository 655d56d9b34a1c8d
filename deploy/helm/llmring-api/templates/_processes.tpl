{{/*
Every process: its arguments, what it reaches, and who calls it. `calledBy` names processes; the gateway is open to
whoever `networkPolicy.gatewayFrom` lets in. Consumers are called by nobody and have no Service.
*/}}
{{- define "llmring.processes" -}}
gateway:
  args: [serve, gateway]
  reaches: [kafka, redis]
  calls: [registry, ingest, auth, receipts, webhooks]
  service: true
registry:
  args: [serve, registry]
  reaches: [kafka, database]
  calls: []
  calledBy: [gateway, ingest, receipts, rater, deliverer]
  service: true
ingest:
  args: [serve, ingest]
  reaches: [kafka, database, redis]
  calls: [registry, auth]
  calledBy: [gateway, auth, receipts]
  service: true
auth:
  args: [serve, auth]
  reaches: [kafka, database, redis]
  calls: [ingest]
  calledBy: [gateway, ingest, rater]
  service: true
receipts:
  args: [serve, receipts]
  reaches: [kafka, database]
  calls: [registry, ingest]
  calledBy: [gateway]
  service: true
webhooks:
  args: [serve, webhooks]
  reaches: [database]
  calls: []
  calledBy: [gateway]
  service: true
rater:
  args: [worker, rater]
  reaches: [kafka, database]
  calls: [registry, auth]
  service: false
issuer:
  args: [worker, issuer]
  reaches: [kafka, database]
  calls: []
  service: false
deliverer:
  args: [worker, webhooks]
  reaches: [kafka, database]
  calls: [registry]
  service: false
{{- end }}

{{/* The environment of a process or of the migration: (dict "root" $ "process" "gateway"). */}}
{{- define "llmring.env" -}}
{{- $values := .root.Values }}
{{- $name := .process }}
{{- $process := get (include "llmring.processes" .root | fromYaml) $name | default (dict "reaches" (list "kafka" "database") "calls" list) }}
{{- if has "kafka" $process.reaches }}
- name: LLMRING_KAFKA_BOOTSTRAP
  value: {{ $values.kafka.bootstrap | quote }}
- name: LLMRING_KAFKA_SECURITY_PROTOCOL
  value: {{ $values.kafka.securityProtocol | quote }}
{{- if hasPrefix "SASL_" $values.kafka.securityProtocol }}
- name: LLMRING_KAFKA_SASL_MECHANISM
  value: {{ $values.kafka.saslMechanism | quote }}
- name: LLMRING_KAFKA_USERNAME
  valueFrom:
    secretKeyRef: {name: {{ $values.kafka.existingSecret | quote }}, key: {{ $values.kafka.usernameKey | quote }}}
- name: LLMRING_KAFKA_PASSWORD
  valueFrom:
    secretKeyRef: {name: {{ $values.kafka.existingSecret | quote }}, key: {{ $values.kafka.passwordKey | quote }}}
{{- end }}
{{- if $values.kafka.caSecret }}
- name: LLMRING_KAFKA_CA_FILE
  value: /etc/llmring/kafka-ca/{{ $values.kafka.caKey }}
{{- end }}
{{- if $values.kafka.clientSecret }}
- name: LLMRING_KAFKA_CERTIFICATE_FILE
  value: /etc/llmring/kafka-client/tls.crt
- name: LLMRING_KAFKA_KEY_FILE
  value: /etc/llmring/kafka-client/tls.key
{{- end }}
{{- end }}
- name: LLMRING_LOG_LEVEL
  value: {{ $values.settings.logLevel | quote }}
- name: LLMRING_LOG_FORMAT
  value: json
{{- if has "database" $process.reaches }}
- name: LLMRING_DATABASE_URL
  valueFrom:
    secretKeyRef: {name: {{ $values.database.existingSecret | quote }}, key: {{ $values.database.urlKey | quote }}}
{{- end }}
{{- if has "redis" $process.reaches }}
- name: LLMRING_REDIS_URL
  valueFrom:
    secretKeyRef: {name: {{ $values.redis.existingSecret | quote }}, key: {{ $values.redis.urlKey | quote }}}
{{- end }}
{{- range $called := $process.calls }}
- name: LLMRING_{{ upper $called }}_URL
  value: http://{{ include "llmring.fullname" $.root }}-{{ $called }}:8080
{{- end }}
{{- if eq $name "gateway" }}
- name: LLMRING_METRICS_PORT
  value: "9090"
- name: LLMRING_PRINCIPAL_SEED
  valueFrom:
    secretKeyRef: {name: {{ $values.principal.existingSecret | quote }}, key: {{ $values.principal.seedKey | quote }}}
- name: LLMRING_ANONYMOUS_REQUESTS_PER_MINUTE
  value: {{ $values.settings.anonymousRequestsPerMinute | int | quote }}
- name: LLMRING_MAX_CONNECTIONS
  value: {{ $values.settings.maxConnections | int | quote }}
{{- if $values.gateway.tlsSecret }}
- name: LLMRING_TLS_CERTIFICATE_FILE
  value: /etc/llmring/tls/tls.crt
- name: LLMRING_TLS_KEY_FILE
  value: /etc/llmring/tls/tls.key
{{- end }}
{{- with $values.settings.trustedProxies }}
- name: LLMRING_TRUSTED_PROXIES
  value: {{ join "," . | quote }}
{{- end }}
{{- end }}
{{- if and (eq $name "gateway") $values.settings.corsOrigins }}
- name: LLMRING_CORS_ORIGINS
  value: {{ join "," $values.settings.corsOrigins | quote }}
{{- end }}
{{- if has $name (list "registry" "ingest" "auth" "receipts" "webhooks") }}
- name: LLMRING_PRINCIPAL_PUBLIC_KEYS
  valueFrom:
    secretKeyRef: {name: {{ $values.principal.existingSecret | quote }}, key: {{ $values.principal.publicKeysKey | quote }}}
{{- end }}
{{- if has $name (list "receipts" "issuer") }}
- name: LLMRING_RECEIPTS_SIGNING_SEED
  valueFrom:
    secretKeyRef: {name: {{ $values.receiptsSigning.existingSecret | quote }}, key: {{ $values.receiptsSigning.seedKey | quote }}}
{{- end }}
{{- if has $name (list "webhooks" "deliverer") }}
- name: LLMRING_WEBHOOKS_KEY
  valueFrom:
    secretKeyRef: {name: {{ $values.webhooksSealing.existingSecret | quote }}, key: {{ $values.webhooksSealing.keyKey | quote }}}
{{- end }}
{{- if and (eq $name "webhooks") $values.settings.webhooksPerAccount }}
- name: LLMRING_WEBHOOKS_PER_ACCOUNT
  value: {{ $values.settings.webhooksPerAccount | int | quote }}
{{- end }}
{{- if and (has $name (list "receipts" "issuer")) $values.settings.receiptsLogOrigin }}
- name: LLMRING_RECEIPTS_LOG_ORIGIN
  value: {{ $values.settings.receiptsLogOrigin | quote }}
{{- end }}
{{- if and (eq $name "receipts") $values.settings.receiptsWitnesses }}
- name: LLMRING_RECEIPTS_WITNESSES
  value: {{ join "," $values.settings.receiptsWitnesses | quote }}
{{- with $values.settings.receiptsWitnessQuorum }}
- name: LLMRING_RECEIPTS_WITNESS_QUORUM
  value: {{ . | int | quote }}
{{- end }}
{{- end }}
{{- if and (has $name (list "gateway" "auth")) $values.settings.publicUrl }}
- name: LLMRING_PUBLIC_URL
  value: {{ $values.settings.publicUrl | quote }}
{{- end }}
{{- if and (eq $name "auth") $values.smtp.host }}
- name: LLMRING_SMTP_HOST
  value: {{ $values.smtp.host | quote }}
- name: LLMRING_SMTP_PORT
  value: {{ $values.smtp.port | int | quote }}
- name: LLMRING_SMTP_SECURITY
  value: {{ $values.smtp.security | quote }}
- name: LLMRING_SMTP_FROM
  value: {{ $values.smtp.from | quote }}
{{- if $values.smtp.existingSecret }}
- name: LLMRING_SMTP_USER
  valueFrom:
    secretKeyRef: {name: {{ $values.smtp.existingSecret | quote }}, key: {{ $values.smtp.userKey | quote }}}
- name: LLMRING_SMTP_PASSWORD
  valueFrom:
    secretKeyRef: {name: {{ $values.smtp.existingSecret | quote }}, key: {{ $values.smtp.passwordKey | quote }}}
{{- end }}
{{- end }}
{{- if eq $name "auth" }}
{{- range $provider, $client := $values.oauth }}
{{- if $client.existingSecret }}
- name: LLMRING_{{ upper $provider }}_CLIENT_ID
  valueFrom:
    secretKeyRef: {name: {{ $client.existingSecret | quote }}, key: {{ $client.clientIdKey | quote }}}
- name: LLMRING_{{ upper $provider }}_CLIENT_SECRET
  valueFrom:
    secretKeyRef: {name: {{ $client.existingSecret | quote }}, key: {{ $client.clientSecretKey | quote }}}
- name: LLMRING_{{ ternary "GOOGLE_ISSUER" "GITHUB_URL" (eq $provider "google") }}
  value: {{ $client.issuer | default $client.url | quote }}
{{- end }}
{{- end }}
{{- end }}
{{- if and (eq $name "migrate") $values.kafka.replicationFactor }}
- name: LLMRING_KAFKA_REPLICATION_FACTOR
  value: {{ $values.kafka.replicationFactor | int | quote }}
{{- end }}
{{- if and $values.telemetry.otlpEndpoint (ne $name "migrate") }}
- name: OTEL_EXPORTER_OTLP_ENDPOINT
  value: {{ $values.telemetry.otlpEndpoint | quote }}
- name: OTEL_TRACES_SAMPLER_ARG
  value: {{ $values.telemetry.sampleRatio | quote }}
{{- end }}
{{- with $values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}
