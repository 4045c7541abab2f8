{{- define "podhook.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default (printf "v%s" .Chart.AppVersion) }}
{{- end }}

{{- /* What writes the node's label: it needs nothing but its account. */ -}}
{{- define "podhook.label" -}}
env:
- name: NODE_NAME
  valueFrom:
    fieldRef:
      fieldPath: spec.nodeName
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
  seccompProfile:
    type: RuntimeDefault
resources:
  requests: {cpu: 1m, memory: 8Mi}
  limits: {memory: 64Mi}
volumeMounts:
- name: account
  mountPath: /var/run/secrets/kubernetes.io/serviceaccount
  readOnly: true
{{- end }}

{{- /* The namespaces whose pods are left alone. */ -}}
{{- define "podhook.namespaces" -}}
matchExpressions:
- key: kubernetes.io/metadata.name
  operator: NotIn
  values:
  {{- toYaml (append .Values.excludedNamespaces .Release.Namespace) | nindent 2 }}
{{- end }}

{{- /* The RuntimeClasses whose pods are podhook's. */ -}}
{{- define "podhook.names" -}}
- {{ .Values.runtimeClass.name }}
{{- if .Values.pauseless.enabled }}
- {{ .Values.runtimeClass.name }}-pauseless
{{- end }}
{{- range .Values.webhook.runtimeClasses }}
- {{ . }}
{{- end }}
{{- end }}

{{- /* The same, for CEL. */ -}}
{{- define "podhook.classes" -}}
['{{ join "', '" (include "podhook.names" . | fromYamlArray) }}']
{{- end }}
