{{- define "yolo-assets.labels" -}}
app.kubernetes.io/name: yolo-assets
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{/* Labels that select the pods of one part. Arguments: root, part. */}}
{{- define "yolo-assets.selector" -}}
app.kubernetes.io/name: yolo-assets
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- define "yolo-assets.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile: { type: RuntimeDefault }
{{- end }}

{{- define "yolo-assets.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: [ALL] }
{{- end }}

{{/* Arguments: root, part. */}}
{{- define "yolo-assets.image" -}}
{{- $image := (index . 0).Values.image -}}
image: {{ printf "%s/%s:%s" $image.registry (get $image.names (index . 1)) $image.tag | quote }}
imagePullPolicy: {{ $image.pullPolicy }}
{{- end }}

{{- define "yolo-assets.pullSecrets" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets: {{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- end }}

{{/* The variables of the two stores. Arguments: root, role; its credentials are a file where a Vault agent injects it. */}}
{{- define "yolo-assets.storeEnv" -}}
{{- $role := index . 1 -}}
{{- with index . 0 -}}
- { name: YOLO_ASSETS_HOME, value: /var/lib/yolo-assets }
- { name: YOLO_ASSETS_STORE, value: {{ .Values.store | quote }} }
- { name: YOLO_ASSETS_ARCHIVE, value: {{ .Values.archive | quote }} }
- { name: HOME, value: /tmp }
- { name: AWS_DEFAULT_REGION, value: {{ .Values.s3.region | quote }} }
{{- with .Values.s3.endpoint }}
- { name: AWS_ENDPOINT_URL_S3, value: {{ . | quote }} }
{{- end }}
{{- if .Values.vault.enabled }}
- { name: AWS_SHARED_CREDENTIALS_FILE, value: /vault/secrets/aws-{{ $role }} }
{{- end }}
{{- end }}
{{- end }}

{{/* Arguments: root, Secret with the credentials. */}}
{{- define "yolo-assets.storeSecret" -}}
{{- if not (index . 0).Values.vault.enabled }}
envFrom:
  - secretRef: { name: {{ index . 1 }} }
{{- end }}
{{- end }}

{{/* Arguments: root, role of the pod, and the roles whose credentials it gets. */}}
{{- define "yolo-assets.vault" -}}
{{- $vault := (index . 0).Values.vault -}}
{{- if $vault.enabled }}
vault.hashicorp.com/agent-inject: "true"
vault.hashicorp.com/role: {{ printf "%s-%s" $vault.role (index . 1) | quote }}
vault.hashicorp.com/agent-run-as-user: "10001"
{{- range $role := slice . 2 }}
{{- $path := printf "%s/%s" $vault.path $role }}
vault.hashicorp.com/agent-inject-secret-aws-{{ $role }}: {{ $path | quote }}
vault.hashicorp.com/agent-inject-template-aws-{{ $role }}: |
  {{ printf "{{- with secret %q -}}" $path }}
  [default]
  aws_access_key_id = {{ "{{ .Data.data.access_key_id }}" }}
  aws_secret_access_key = {{ "{{ .Data.data.secret_access_key }}" }}
  {{ "{{- end }}" }}
{{- end }}
{{- end }}
{{- end }}

{{/* Whom receipts and releases are believed: the public keys of the centre and of its archivers, as a volume for <home>/keys. */}}
{{- define "yolo-assets.publicKeys" -}}
- name: keys
  projected:
    defaultMode: 288
    sources:
      - secret:
          name: {{ .Values.secrets.platformKeys }}
          items:
            - { key: archiver.pub, path: archiver.pub }
            - { key: promotion.pub, path: promotion.pub }
      {{- with .Values.dagster.archiverKeys }}
      - configMap:
          name: yolo-assets-archiver-keys
          items:
            {{- range $name, $_ := . }}
            - { key: {{ $name }}.pub, path: archivers/{{ $name }}.pub }
            {{- end }}
      {{- end }}
{{- end }}

{{/* The pod of one run of `yolo-assets archive run` over a shared spool: of the CronJob and of the ScaledJob. */}}
{{- define "yolo-assets.archiverPod" -}}
metadata:
  labels: {{- include "yolo-assets.selector" (list . "archiver") | nindent 4 }}
  {{- with include "yolo-assets.vault" (list . "archiver" "archiver") }}
  annotations: {{- . | nindent 4 }}
  {{- end }}
spec:
  serviceAccountName: yolo-assets-archiver
  automountServiceAccountToken: {{ .Values.vault.enabled }}
  restartPolicy: Never
  securityContext: {{- include "yolo-assets.podSecurity" . | nindent 4 }}
  {{- include "yolo-assets.pullSecrets" . | nindent 2 }}
  containers:
    - name: archiver
      {{- include "yolo-assets.image" (list . "archiver") | nindent 6 }}
      command: [yolo-assets, archive, run]
      env:
        {{- include "yolo-assets.storeEnv" (list . "archiver") | nindent 8 }}
        - { name: YOLO_ASSETS_SPOOL, value: /spool }
      {{- include "yolo-assets.storeSecret" (list . .Values.secrets.archiverS3) | nindent 6 }}
      resources: {{- toYaml .Values.archiver.resources | nindent 8 }}
      securityContext: {{- include "yolo-assets.containerSecurity" . | nindent 8 }}
      volumeMounts:
        - { name: home, mountPath: /var/lib/yolo-assets }
        - { name: keys, mountPath: /var/lib/yolo-assets/keys, readOnly: true }
        - { name: spool, mountPath: /spool }
        - { name: tmp, mountPath: /tmp }
  volumes:
    - { name: home, emptyDir: { sizeLimit: 1Gi } }
    - { name: keys, secret: { secretName: {{ .Values.secrets.archiverKey }}, defaultMode: 288 } }
    - { name: spool, persistentVolumeClaim: { claimName: {{ .Values.archiver.spoolClaim }} } }
    - { name: tmp, emptyDir: { sizeLimit: 1Gi } }
{{- end }}
