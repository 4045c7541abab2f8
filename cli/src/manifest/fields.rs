//! The fields of the Kubernetes API, and what podhook does with each of them.
//!
//! A field that stands here with [`Rule::Unsupported`] exists in Kubernetes 1.36; one that does
//! not stand here does not exist, and the user has misspelt it.

use super::schema::Rule::{
    self, Flag, Keys, List, OneOf, Only, Port, Struct, Text, Unsupported, Value, Whole, Word,
};

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
    ("handler", Text),
    ("overhead", Unsupported),
    ("scheduling", Unsupported),
]);

const METADATA: Rule = Struct(&[
    ("name", Text),
    ("namespace", Text),
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
        Word(&["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"]),
    ),
    // There are no services here, so there is nothing to link.
    ("enableServiceLinks", Flag),
    ("hostIPC", Flag),
    ("hostNetwork", Flag),
    ("hostPID", Flag),
    ("hostUsers", Only(true)),
    ("hostname", Text),
    ("os", Struct(&[("name", OneOf(&["linux"]))])),
    ("restartPolicy", Word(&["Always", "OnFailure", "Never"])),
    ("runtimeClassName", Text),
    ("securityContext", POD_SECURITY_CONTEXT),
    ("shareProcessNamespace", Flag),
    ("terminationGracePeriodSeconds", Whole),
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
    ("nameservers", List(&Text)),
    ("searches", List(&Text)),
    ("options", List(&Struct(&[("name", Text), ("value", Text)]))),
]);

const CONTAINER: Rule = Struct(&[
    ("name", Text),
    ("image", Text),
    (
        "imagePullPolicy",
        Word(&["Always", "IfNotPresent", "Never"]),
    ),
    ("command", List(&Text)),
    ("args", List(&Text)),
    ("workingDir", Text),
    ("env", List(&ENV)),
    ("ports", List(&PORT)),
    ("resources", RESOURCES),
    ("volumeMounts", List(&VOLUME_MOUNT)),
    ("lifecycle", LIFECYCLE),
    ("securityContext", SECURITY_CONTEXT),
    ("stdin", Flag),
    ("stdinOnce", Flag),
    ("tty", Flag),
    ("terminationMessagePath", Text),
    (
        "terminationMessagePolicy",
        Word(&["File", "FallbackToLogsOnError"]),
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
    ("name", Text),
    ("value", Text),
    (
        "valueFrom",
        Struct(&[
            (
                "fieldRef",
                Struct(&[("apiVersion", OneOf(&["v1"])), ("fieldPath", Text)]),
            ),
            ("configMapKeyRef", Unsupported),
            ("fileKeyRef", Unsupported),
            ("resourceFieldRef", Unsupported),
            ("secretKeyRef", Unsupported),
        ]),
    ),
]);

const PORT: Rule = Struct(&[
    ("name", Text),
    ("containerPort", Whole),
    ("protocol", Word(&["TCP", "UDP", "SCTP"])),
    ("hostPort", Whole),
    ("hostIP", Text),
]);

const RESOURCES: Rule = Struct(&[
    ("limits", Keys(&["cpu", "memory"])),
    ("requests", Keys(&["cpu", "memory"])),
    ("claims", Unsupported),
]);

const VOLUME_MOUNT: Rule = Struct(&[
    ("name", Text),
    ("mountPath", Text),
    ("readOnly", Flag),
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
    ("stopSignal", Text),
]);

const LIFECYCLE_HANDLER: Rule = Struct(&[
    (
        "exec",
        // The timeout is Kubernetes' own next shape, KEP-4929.
        Struct(&[("command", List(&Text)), ("timeoutSeconds", Whole)]),
    ),
    (
        "httpGet",
        Struct(&[
            ("host", Text),
            ("path", Text),
            ("port", Port),
            ("scheme", Text),
            (
                "httpHeaders",
                List(&Struct(&[("name", Text), ("value", Text)])),
            ),
        ]),
    ),
    ("tcpSocket", Struct(&[("host", Text), ("port", Port)])),
    ("sleep", Struct(&[("seconds", Whole)])),
]);

const SECCOMP_PROFILE: Rule = Struct(&[
    ("type", OneOf(&["RuntimeDefault", "Unconfined"])),
    ("localhostProfile", Unsupported),
]);

const SECURITY_CONTEXT: Rule = Struct(&[
    ("allowPrivilegeEscalation", Flag),
    (
        "capabilities",
        Struct(&[("add", List(&Text)), ("drop", List(&Text))]),
    ),
    ("privileged", Flag),
    ("procMount", OneOf(&["Default"])),
    ("readOnlyRootFilesystem", Flag),
    ("runAsGroup", Whole),
    ("runAsNonRoot", Flag),
    ("runAsUser", Whole),
    ("seccompProfile", SECCOMP_PROFILE),
    ("appArmorProfile", Unsupported),
    ("seLinuxOptions", Unsupported),
    ("windowsOptions", Unsupported),
]);

const POD_SECURITY_CONTEXT: Rule = Struct(&[
    ("fsGroup", Whole),
    ("fsGroupChangePolicy", OneOf(&["Always", "OnRootMismatch"])),
    ("runAsGroup", Whole),
    ("runAsNonRoot", Flag),
    ("runAsUser", Whole),
    ("seccompProfile", SECCOMP_PROFILE),
    ("supplementalGroups", List(&Whole)),
    ("supplementalGroupsPolicy", OneOf(&["Merge"])),
    ("sysctls", List(&Struct(&[("name", Text), ("value", Text)]))),
    ("appArmorProfile", Unsupported),
    ("seLinuxChangePolicy", Unsupported),
    ("seLinuxOptions", Unsupported),
    ("windowsOptions", Unsupported),
]);

const VOLUME: Rule = Struct(&[
    ("name", Text),
    // An empty emptyDir (`emptyDir: {}`) is the usual form of it.
    (
        "emptyDir",
        Struct(&[("medium", OneOf(&["", "Memory"])), ("sizeLimit", Value)]),
    ),
    (
        "hostPath",
        Struct(&[
            ("path", Text),
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
