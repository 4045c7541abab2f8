//! The fields of the Kubernetes API, and what podhook does with each of them.
//!
//! A field that stands here with [`Rule::Unsupported`] exists in Kubernetes 1.36; one that does
//! not stand here does not exist, and the user has misspelt it.

use super::schema::Rule::{self, Keys, List, OneOf, Only, Struct, Unsupported, Value};

/// A Pod document.
pub(super) static POD: Rule = Struct(&[
    ("apiVersion", Value),
    ("kind", Value),
    ("metadata", METADATA),
    ("spec", POD_SPEC),
    // The API server ignores it in what users send; `kubectl run -o yaml` prints it.
    ("status", Value),
]);

/// A RuntimeClass document.
pub(super) static RUNTIME_CLASS: Rule = Struct(&[
    ("apiVersion", Value),
    ("kind", Value),
    ("metadata", METADATA),
    ("handler", Value),
    ("overhead", Unsupported),
    ("scheduling", Unsupported),
]);

const METADATA: Rule = Struct(&[
    ("name", Value),
    ("namespace", Value),
    ("labels", Value),
    ("annotations", Value),
    ("creationTimestamp", Unsupported),
    ("deletionGracePeriodSeconds", Unsupported),
    ("deletionTimestamp", Unsupported),
    ("finalizers", Unsupported),
    ("generateName", Unsupported),
    ("generation", Unsupported),
    ("managedFields", Unsupported),
    ("ownerReferences", Unsupported),
    ("resourceVersion", Unsupported),
    ("selfLink", Unsupported),
    ("uid", Unsupported),
]);

const POD_SPEC: Rule = Struct(&[
    ("containers", List(&CONTAINER)),
    ("dnsConfig", DNS_CONFIG),
    (
        "dnsPolicy",
        OneOf(&["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"]),
    ),
    // There are no services here, so there is nothing to link.
    ("enableServiceLinks", Value),
    ("hostIPC", Value),
    ("hostNetwork", Value),
    ("hostPID", Value),
    ("hostUsers", Only(true)),
    ("hostname", Value),
    ("os", Struct(&[("name", OneOf(&["linux"]))])),
    ("restartPolicy", OneOf(&["Always", "OnFailure", "Never"])),
    ("runtimeClassName", Value),
    ("securityContext", POD_SECURITY_CONTEXT),
    ("shareProcessNamespace", Value),
    ("terminationGracePeriodSeconds", Value),
    ("volumes", List(&VOLUME)),
    ("activeDeadlineSeconds", Unsupported),
    ("affinity", Unsupported),
    ("automountServiceAccountToken", Only(false)),
    ("ephemeralContainers", Unsupported),
    ("hostAliases", Unsupported),
    ("hostnameOverride", Unsupported),
    ("imagePullSecrets", Unsupported),
    ("initContainers", Unsupported),
    ("nodeName", Unsupported),
    ("nodeSelector", Unsupported),
    ("overhead", Unsupported),
    ("preemptionPolicy", Unsupported),
    ("priority", Unsupported),
    ("priorityClassName", Unsupported),
    ("readinessGates", Unsupported),
    ("resourceClaims", Unsupported),
    ("resources", Unsupported),
    ("schedulerName", Unsupported),
    ("schedulingGates", Unsupported),
    ("schedulingGroup", Unsupported),
    ("serviceAccount", Unsupported),
    ("serviceAccountName", Unsupported),
    ("setHostnameAsFQDN", Only(false)),
    ("subdomain", Unsupported),
    ("tolerations", Unsupported),
    ("topologySpreadConstraints", Unsupported),
]);

const DNS_CONFIG: Rule = Struct(&[
    ("nameservers", List(&Value)),
    ("searches", List(&Value)),
    (
        "options",
        List(&Struct(&[("name", Value), ("value", Value)])),
    ),
]);

const CONTAINER: Rule = Struct(&[
    ("name", Value),
    ("image", Value),
    (
        "imagePullPolicy",
        OneOf(&["Always", "IfNotPresent", "Never"]),
    ),
    ("command", List(&Value)),
    ("args", List(&Value)),
    ("workingDir", Value),
    ("env", List(&ENV)),
    ("ports", List(&PORT)),
    ("resources", RESOURCES),
    ("volumeMounts", List(&VOLUME_MOUNT)),
    ("lifecycle", LIFECYCLE),
    ("securityContext", SECURITY_CONTEXT),
    ("stdin", Value),
    ("stdinOnce", Value),
    ("tty", Value),
    ("terminationMessagePath", Value),
    (
        "terminationMessagePolicy",
        OneOf(&["File", "FallbackToLogsOnError"]),
    ),
    ("envFrom", Unsupported),
    ("livenessProbe", Unsupported),
    ("readinessProbe", Unsupported),
    ("resizePolicy", Unsupported),
    ("restartPolicy", Unsupported),
    ("restartPolicyRules", Unsupported),
    ("startupProbe", Unsupported),
    ("volumeDevices", Unsupported),
]);

const ENV: Rule = Struct(&[
    ("name", Value),
    ("value", Value),
    (
        "valueFrom",
        Struct(&[
            (
                "fieldRef",
                Struct(&[("apiVersion", OneOf(&["v1"])), ("fieldPath", Value)]),
            ),
            ("configMapKeyRef", Unsupported),
            ("fileKeyRef", Unsupported),
            ("resourceFieldRef", Unsupported),
            ("secretKeyRef", Unsupported),
        ]),
    ),
]);

const PORT: Rule = Struct(&[
    ("name", Value),
    ("containerPort", Value),
    ("protocol", OneOf(&["TCP", "UDP", "SCTP"])),
    ("hostPort", Value),
    ("hostIP", Value),
]);

const RESOURCES: Rule = Struct(&[
    ("limits", Keys(&["cpu", "memory"])),
    ("requests", Keys(&["cpu", "memory"])),
    ("claims", Unsupported),
]);

const VOLUME_MOUNT: Rule = Struct(&[
    ("name", Value),
    ("mountPath", Value),
    ("readOnly", Value),
    (
        "mountPropagation",
        OneOf(&["None", "HostToContainer", "Bidirectional"]),
    ),
    ("recursiveReadOnly", OneOf(&["Disabled"])),
    ("subPath", Unsupported),
    ("subPathExpr", Unsupported),
]);

/// `lifecycle` of a container.
pub(super) const LIFECYCLE: Rule = Struct(&[
    ("postStart", LIFECYCLE_HANDLER),
    ("preStop", LIFECYCLE_HANDLER),
    ("stopSignal", Value),
]);

const LIFECYCLE_HANDLER: Rule = Struct(&[
    (
        "exec",
        // The timeout is Kubernetes' own next shape, KEP-4929.
        Struct(&[("command", List(&Value)), ("timeoutSeconds", Value)]),
    ),
    (
        "httpGet",
        Struct(&[
            ("host", Value),
            ("path", Value),
            ("port", Value),
            ("scheme", Value),
            (
                "httpHeaders",
                List(&Struct(&[("name", Value), ("value", Value)])),
            ),
        ]),
    ),
    ("tcpSocket", Struct(&[("host", Value), ("port", Value)])),
    ("sleep", Struct(&[("seconds", Value)])),
]);

const SECCOMP_PROFILE: Rule = Struct(&[
    ("type", OneOf(&["RuntimeDefault", "Unconfined"])),
    ("localhostProfile", Unsupported),
]);

const SECURITY_CONTEXT: Rule = Struct(&[
    ("allowPrivilegeEscalation", Value),
    (
        "capabilities",
        Struct(&[("add", List(&Value)), ("drop", List(&Value))]),
    ),
    ("privileged", Value),
    ("procMount", OneOf(&["Default"])),
    ("readOnlyRootFilesystem", Value),
    ("runAsGroup", Value),
    ("runAsNonRoot", Value),
    ("runAsUser", Value),
    ("seccompProfile", SECCOMP_PROFILE),
    ("appArmorProfile", Unsupported),
    ("seLinuxOptions", Unsupported),
    ("windowsOptions", Unsupported),
]);

const POD_SECURITY_CONTEXT: Rule = Struct(&[
    ("fsGroup", Value),
    ("fsGroupChangePolicy", OneOf(&["Always", "OnRootMismatch"])),
    ("runAsGroup", Value),
    ("runAsNonRoot", Value),
    ("runAsUser", Value),
    ("seccompProfile", SECCOMP_PROFILE),
    ("supplementalGroups", List(&Value)),
    ("supplementalGroupsPolicy", OneOf(&["Merge"])),
    (
        "sysctls",
        List(&Struct(&[("name", Value), ("value", Value)])),
    ),
    ("appArmorProfile", Unsupported),
    ("seLinuxChangePolicy", Unsupported),
    ("seLinuxOptions", Unsupported),
    ("windowsOptions", Unsupported),
]);

const VOLUME: Rule = Struct(&[
    ("name", Value),
    // An empty emptyDir (`emptyDir: {}`) is the usual form of it.
    (
        "emptyDir",
        Struct(&[("medium", OneOf(&["", "Memory"])), ("sizeLimit", Value)]),
    ),
    (
        "hostPath",
        Struct(&[
            ("path", Value),
            (
                "type",
                OneOf(&[
                    "",
                    "Directory",
                    "DirectoryOrCreate",
                    "File",
                    "FileOrCreate",
                    "Socket",
                    "CharDevice",
                    "BlockDevice",
                ]),
            ),
        ]),
    ),
    ("awsElasticBlockStore", Unsupported),
    ("azureDisk", Unsupported),
    ("azureFile", Unsupported),
    ("cephfs", Unsupported),
    ("cinder", Unsupported),
    ("configMap", Unsupported),
    ("csi", Unsupported),
    ("downwardAPI", Unsupported),
    ("ephemeral", Unsupported),
    ("fc", Unsupported),
    ("flexVolume", Unsupported),
    ("flocker", Unsupported),
    ("gcePersistentDisk", Unsupported),
    ("gitRepo", Unsupported),
    ("glusterfs", Unsupported),
    ("image", Unsupported),
    ("iscsi", Unsupported),
    ("nfs", Unsupported),
    ("persistentVolumeClaim", Unsupported),
    ("photonPersistentDisk", Unsupported),
    ("portworxVolume", Unsupported),
    ("projected", Unsupported),
    ("quobyte", Unsupported),
    ("rbd", Unsupported),
    ("scaleIO", Unsupported),
    ("secret", Unsupported),
    ("storageos", Unsupported),
    ("vsphereVolume", Unsupported),
]);
