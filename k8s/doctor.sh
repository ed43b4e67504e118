#!/bin/sh
# Checks whether a cluster has what the tutorial (docs/tutorial.md) needs, with nothing but kubectl; --help says more.
#
# The checks read the manifests beside this script, so that they concern the images, labels, policies and volumes that will be
# applied: of the plain files here, or of those that the tutorial renders into my-cluster.
set -u
export LC_ALL=C

namespace=voting-doctor
# Seconds for what may have to download an image or create a disk, and for everything else.
patience=180 briefly=60

usage() {
  cat <<'END'
usage: sh k8s/doctor.sh [--context NAME] [--timeout SECONDS]

Check whether the cluster has what the tutorial needs. It checks the manifests beside the script: after "Manifests for your
cluster" in docs/tutorial.md, run it in the folder my-cluster.

  --context NAME     the context of the kubeconfig file; default: the current one
  --timeout SECONDS  for the download of the images and the creation of a disk; default: 180
  --help             show this text

Each line of the output is a check:

  ok    it is as needed
  note  the tutorial works nevertheless; what that costs, and the command that changes it
  FAIL  what is wrong, and the command that fixes it
  skip  not checked, and why

Exit code: 0 without FAIL, 1 with it, 2 for wrong usage.

The script creates the namespace voting-doctor with a few pods and a volume, and removes it in the end, also after Ctrl-C. It
changes nothing else. It takes about a minute, plus the time to download the images.
END
}

wrong_usage() {
  printf 'doctor.sh: %s; see --help\n' "$1" >&2
  exit 2
}

context='' kubectl=kubectl
while [ $# -gt 0 ]; do
  case $1 in
    --help | -h)
      usage
      exit 0
      ;;
    --context)
      [ $# -ge 2 ] || wrong_usage '--context needs a name'
      context=$2
      shift
      ;;
    --timeout)
      [ $# -ge 2 ] || wrong_usage '--timeout needs a number of seconds'
      patience=$2
      shift
      ;;
    --context=*) context=${1#*=} ;;
    --timeout=*) patience=${1#*=} ;;
    *) wrong_usage "unknown argument $1; allowed: --context NAME, --timeout SECONDS, --help" ;;
  esac
  shift
done

case $patience in
  '' | *[!0-9]*) wrong_usage "--timeout $patience is not a number of seconds" ;;
esac

findings=0
ok() { printf 'ok    %s\n' "$1"; }
note() { printf 'note  %s; to change it: %s\n' "$1" "$2"; }
fail() {
  printf 'FAIL  %s; to fix it: %s\n' "$1" "$2"
  findings=$((findings + 1))
}
skip() { printf 'skip  %s: %s\n' "$1" "$2"; }

# kubectl on the chosen context; no request takes longer than this.
k() { kubectl ${context:+--context "$context"} --request-timeout=20s "$@"; }

# Joins lines and cuts long ones: messages of Kubernetes may have several lines.
one_line() { tr -s '\n\t ' ' ' | cut -c -300 | sed 's/ $//'; }

now() { date +%s; }

# at_least VERSION MAJOR MINOR: whether a version such as v1.36.1-eks-2 or 1.31.0 is this one or later.
at_least() {
  version=${1#v}
  major=${version%%.*} minor=${version#*.}
  minor=${minor%%[!0-9]*}
  case $major:$minor in
    *[!0-9:]* | :* | *:) return 1 ;;
  esac
  [ "$major" -gt "$2" ] || { [ "$major" -eq "$2" ] && [ "$minor" -ge "$3" ]; }
}

here=$(cd "$(dirname "$0")" && pwd)
for file in step-0-create-namespace.yaml step-1-create-voting-app.yaml ../istio/step-1-create-voting-app-gateway.yaml; do
  [ -f "$here/$file" ] || wrong_usage "$here/$file is missing; the script belongs into the folder k8s, beside the folder istio"
done

# ----------------------------------------------------------------------------------------------------- the reader's machine

if ! command -v kubectl >/dev/null 2>&1; then
  fail 'kubectl is not on the PATH' 'install it, see https://kubernetes.io/docs/tasks/tools/'
  exit 1
fi
if [ -n "$context" ]; then
  kubectl config get-contexts "$context" >/dev/null 2>&1 ||
    wrong_usage "the kubeconfig file has no context $context; it has: $(kubectl config get-contexts --output name 2>/dev/null | one_line)"
  kubectl="kubectl --context $context"
fi
if ! error=$(k get --raw /version 2>&1 >/dev/null); then
  fail "no cluster answers ($(printf '%s\n' "$error" | tail -n 1 | one_line))" \
    "kubectl config use-context NAME, with one of: $(kubectl config get-contexts --output name 2>/dev/null | one_line)"
  exit 1
fi
missing=''
for program in istioctl curl openssl; do
  command -v "$program" >/dev/null 2>&1 || missing="$missing $program"
done
if [ -n "$missing" ]; then
  fail "not on the PATH:$missing" "install$missing; istioctl is part of https://istio.io/latest/docs/setup/getting-started/#download"
fi

versions=$(k version 2>/dev/null)
client=$(printf '%s\n' "$versions" | sed -n 's/^Client Version: //p')
server=$(printf '%s\n' "$versions" | sed -n 's/^Server Version: //p')
if ! at_least "$client" 1 31; then
  fail "kubectl is version $client, and the tutorial needs 1.31" 'install a newer one, see https://kubernetes.io/docs/tasks/tools/'
elif ! at_least "$server" 1 30; then
  fail "the cluster has Kubernetes $server, and the manifests need 1.30" \
    'az aks upgrade --resource-group GROUP --name CLUSTER --kubernetes-version VERSION, or the same of your platform'
else
  ok "Kubernetes $server, kubectl $client"
fi

# ------------------------------------------------------------------------------------------------------------- permissions

# Everything that the tutorial does, as one request each: the kinds of the manifests, and what the commands read and change.
reviews() {
  {
    cat "$here"/step-*.yaml "$here"/../istio/step-*.yaml | awk '
      /^apiVersion:/ { group = $2; if (!sub("/.*", "", group)) group = "" }
      /^kind:/ {
        name = tolower($2)
        if (!sub("[^aeiou]y$", "&", name)) name = name "s"
        else sub("y$", "ies", name)
        if (!(name in seen)) print name, group, "create get patch delete"
        seen[name] = 1
      }'
    echo 'pods  create get list watch delete'
    echo 'deployments apps list watch'
    echo 'deployments/scale apps get patch'
    echo 'jobs batch list watch'
    echo 'persistentvolumeclaims  get delete'
    echo 'services  list watch'
  } | while IFS=' ' read -r resource rest; do
    # The core group is empty.
    case $rest in
      *.* | apps\ * | batch\ * | autoscaling\ * | policy\ *) group=${rest%% *} verbs=${rest#* } ;;
      *) group='' verbs=$rest ;;
    esac
    subresource=''
    case $resource in */*) subresource=${resource#*/} resource=${resource%/*} ;; esac
    [ "$resource" = namespaces ] && where='' || where=voting
    for verb in $verbs; do
      printf -- '---\napiVersion: authorization.k8s.io/v1\nkind: SelfSubjectAccessReview\nspec:\n  resourceAttributes: '
      printf '{verb: %s, group: "%s", resource: %s, subresource: "%s", namespace: "%s"}\n' \
        "$verb" "$group" "$resource" "$subresource" "$where"
    done
  done
}
template='{{with .spec.resourceAttributes}}{{.verb}} {{.resource}}{{with .group}}.{{.}}{{end}}{{with .subresource}}/{{.}}{{end}}{{end}} {{.status.allowed}}{{"\n"}}'
if answers=$(reviews | k create --validate=false --output "go-template=$template" --filename - 2>&1); then
  denied=$(printf '%s\n' "$answers" | grep -v ' true$')
  if [ -z "$denied" ]; then
    ok "you may do everything that the tutorial does ($(printf '%s\n' "$answers" | grep -c .) permissions)"
  else
    list() { printf '%s\n' "$denied" | cut -d ' ' -f "$1" | sort -u | paste -s -d , -; }
    user=$(k auth whoami --output 'jsonpath={.status.userInfo.username}' 2>/dev/null)
    fail "you (${user:-unknown}) may not $(list 1) some of $(list 2)" \
      "kubectl create clusterrole voting-tutorial --verb=create,get,list,watch,patch,delete --resource=$(list 2) && kubectl create clusterrolebinding voting-tutorial --clusterrole=voting-tutorial --user=${user:-NAME}, as an administrator"
  fi
else
  skip 'permissions' "$(printf '%s\n' "$answers" | one_line)"
fi

# ------------------------------------------------------------------------------------------------------------------- Istio

# All control planes, a line each: namespace, name, revision, image, number of pods, of available pods.
template='{{range .items}}{{.metadata.namespace}} {{.metadata.name}} {{or (index .metadata.labels "istio.io/rev") "default"}} {{(index .spec.template.spec.containers 0).image}} {{.spec.replicas}} {{or .status.availableReplicas 0}}{{"\n"}}{{end}}'
add_on='' revisions=''
if ! planes=$(k get deployments --all-namespaces --selector app=istiod --output "go-template=$template" 2>&1); then
  skip 'Istio' "$(printf '%s\n' "$planes" | one_line)"
  planes=''
elif [ -z "$planes" ]; then
  fail 'the cluster has no Istio' \
    'istioctl install --set components.cni.enabled=true, or on AKS az aks mesh enable --resource-group GROUP --name CLUSTER'
fi
while read -r place name revision image replicas available; do
  [ -n "$place" ] || continue
  tag=${image%@*}
  tag=${tag##*:}
  tag=${tag#v}
  case $place in
    istio-system) kind='Istio of your own' ;;
    aks-istio-system) kind='the AKS add-on' add_on=$revision ;;
    *)
      fail "istiod is in the namespace $place, and default-deny-egress admits istio-system and aks-istio-system only" \
        "add $place to default-deny-egress in k8s/step-1-create-voting-app.yaml"
      continue
      ;;
  esac
  revisions="$revisions $revision"
  if [ "${tag%%.*}" != 1 ]; then
    skip "Istio's version" "the image $image does not tell it; 1.28 or later is needed"
  elif ! at_least "$tag" 1 28; then
    fail "Istio is version $tag ($kind, revision $revision), and the manifests need 1.28" \
      'upgrade it, see docs/operations.md#an-upgrade-of-istio, or on AKS az aks mesh upgrade start --resource-group GROUP --name CLUSTER --revision REVISION'
  else
    ok "Istio $tag, $kind, revision $revision"
  fi
  if [ "$replicas" = 0 ]; then
    fail "istiod is scaled to zero ($kind, revision $revision)" "$kubectl scale deployment $name --replicas=1 --namespace $place"
  elif [ "$available" = 0 ]; then
    fail "no pod of istiod is available ($kind, revision $revision)" \
      "$kubectl rollout restart deployment $name --namespace $place, or see $kubectl describe pods --selector app=istiod --namespace $place"
  fi
done <<END
$planes
END
revisions=${revisions# }
[ -n "$add_on" ] && istio='aks-istio-system' || istio='istio-system'

# ----------------------------------------------------------------------------------------------------------------- gateway

# The label that the Gateway of step 1 selects, which is also in the NetworkPolicy of voting-app.
label=$(sed -n 's/.*istio: \([a-z-]*\).*/\1/p' "$here/../istio/step-1-create-voting-app-gateway.yaml" | head -n 1)
case $label in
  aks-*) place=aks-istio-ingress service=$label ;;
  *) place=istio-system service=istio-ingressgateway ;;
esac
template='{{range .items}}{{.metadata.namespace}} {{range .status.conditions}}{{if eq .type "Ready"}}{{.status}}{{end}}{{end}}{{"\n"}}{{end}}'
if ! pods=$(k get pods --all-namespaces --selector "istio=$label" --output "go-template=$template" 2>&1); then
  skip 'gateway' "$(printf '%s\n' "$pods" | one_line)"
elif ! printf '%s\n' "$pods" | grep -q "^$place "; then
  wrong="no pod in $place has the label istio=$label, which istio/step-1-create-voting-app-gateway.yaml selects"
  if [ -n "$add_on" ] && [ "$place" = istio-system ]; then
    fail "$wrong" 'add the component ../aks-add-on to kustomize/cluster/kustomization.yaml, render the manifests, and run this script in my-cluster'
  elif [ -n "$add_on" ]; then
    fail "$wrong" 'az aks mesh enable-ingress-gateway --resource-group GROUP --name CLUSTER --ingress-gateway-type external'
  elif [ "$place" = aks-istio-ingress ]; then
    fail "$wrong" 'without the AKS add-on, leave the component aks-add-on out of kustomize/cluster/kustomization.yaml'
  else
    fail "$wrong" "$kubectl scale deployment istio-ingressgateway --replicas=1 --namespace istio-system, or without that deployment istioctl install --set components.cni.enabled=true"
  fi
elif ! printf '%s\n' "$pods" | grep -q "^$place True"; then
  fail "no pod of the gateway istio=$label is ready" "$kubectl rollout restart deployment --selector istio=$label --namespace $place"
else
  ok "gateway with the label istio=$label in $place"
fi
template="{{range .status.loadBalancer.ingress}}{{or .ip .hostname}} {{end}}"
if ! address=$(k get service "$service" --namespace "$place" --output "go-template=$template" 2>&1); then
  case $address in
    *NotFound*) fail "there is no service $service in $place" 'install the ingress gateway, see docs/tutorial.md#prepare-a-cluster' ;;
    *) skip "the gateway's address" "$(printf '%s\n' "$address" | one_line)" ;;
  esac
elif [ -z "$address" ]; then
  fail "the service $service in $place has no address" \
    "$kubectl wait '--for=jsonpath={.status.loadBalancer.ingress}' service/$service --namespace $place --timeout=5m, or without a load balancer $kubectl port-forward service/$service 8080:80 --namespace $place & INGRESS_IP=localhost:8080"
else
  ok "address of the gateway: ${address% }"
fi

# ----------------------------------------------------------------------------------------------------------------- storage

claimed=$(cat "$here"/step-*.yaml | sed -n 's/^ *storageClassName: *//p' | head -n 1)
default='storageclass.kubernetes.io/is-default-class'
template="{{range .items}}{{.metadata.name}} {{or .volumeBindingMode \"Immediate\"}} {{or .reclaimPolicy \"Delete\"}} {{with .metadata.annotations}}{{or (index . \"$default\") \"false\"}}{{else}}false{{end}}{{\"\\n\"}}{{end}}"
class='' reclaim=''
if ! classes=$(k get storageclasses --output "go-template=$template" 2>&1); then
  skip 'storage class' "$(printf '%s\n' "$classes" | one_line)"
else
  if [ -n "$claimed" ]; then
    found=$(printf '%s\n' "$classes" | awk -v name="$claimed" '$1 == name')
    wrong="there is no storage class $claimed, which the manifests claim"
    remedy="set one of these in kustomize/storage-class/kustomization.yaml: $(printf '%s\n' "$classes" | cut -d ' ' -f 1 | one_line)"
  else
    found=$(printf '%s\n' "$classes" | grep ' true$' | head -n 1)
    wrong='there is no default storage class'
    name=$(printf '%s\n' "$classes" | head -n 1 | cut -d ' ' -f 1)
    remedy="$kubectl annotate storageclass ${name:-NAME} $default=true --overwrite"
  fi
  if [ -z "$found" ]; then
    fail "$wrong, so the stores get no volume" "$remedy"
  else
    read -r class binding reclaim _ <<END
$found
END
    if [ "$binding" = WaitForFirstConsumer ]; then
      ok "storage class $class"
    else
      note "the storage class $class creates a volume before its pod has a node (binding mode $binding): with several zones the pod may not reach it" \
        'use a class with WaitForFirstConsumer: the component ../storage-class of kustomize/cluster/kustomization.yaml'
    fi
  fi
fi

# --------------------------------------------------------------------------------------------------------- aggregated APIs

template='{{range .items}}{{$name := .metadata.name}}{{range .status.conditions}}{{if and (eq .type "Available") (ne .status "True")}}{{$name}}{{"\n"}}{{end}}{{end}}{{end}}'
unavailable=$(k get apiservices --output "go-template=$template" 2>/dev/null)
metrics='the autoscalers keep three pods'
if [ -n "$unavailable" ]; then
  unavailable=$(printf '%s\n' "$unavailable" | one_line)
  fail "an API is registered, but its server does not answer ($unavailable): no namespace can be deleted" \
    "$kubectl delete apiservice $unavailable, or repair its server"
elif k get --raw /apis/metrics.k8s.io/v1beta1 >/dev/null 2>&1; then
  ok 'metrics for the autoscalers'
else
  note "the cluster has no metrics API: $metrics" \
    "$kubectl apply -f https://github.com/kubernetes-sigs/metrics-server/releases/latest/download/components.yaml"
fi

# ---------------------------------------------------------------------------------- checks with pods, in their own namespace

finish() { [ "$findings" = 0 ] && exit 0 || exit 1; }
not_checked='injection, CNI, images, volumes, NetworkPolicies and DNS'
if [ -n "$unavailable" ]; then
  skip "$not_checked" "the namespace $namespace could not be removed"
  finish
fi

# Labels of the namespace, as lines of YAML: those of the namespace voting, or else those it is about to get.
template='{{range $name, $value := .metadata.labels}}{{if ne $name "kubernetes.io/metadata.name"}}{{printf "    %q: %q\n" $name $value}}{{end}}{{end}}'
if k get namespace voting >/dev/null 2>&1; then
  has_namespace=yes
  labels=$(k get namespace voting --output "go-template=$template")
else
  has_namespace=''
  labels=$(k create --dry-run=client --validate=false --filename "$here/step-0-create-namespace.yaml" --output "go-template=$template")
  if [ -n "$add_on" ]; then
    labels=$(
      printf '%s\n' "$labels" | grep -v istio-injection
      printf '    "istio.io/rev": "%s"\n' "$add_on"
    )
  fi
fi

# One run's own mark: only this namespace is removed.
run="$$-$(now)"
clean_up() {
  trap '' INT TERM HUP
  trap - EXIT
  k delete namespace --selector "voting-doctor=$run" --wait=false >/dev/null 2>&1
  end=$(($(now) + briefly))
  while [ -n "$(k get namespace --selector "voting-doctor=$run" --output name 2>/dev/null)" ]; do
    if [ "$(now)" -ge "$end" ]; then
      note "the namespace $namespace is still being deleted" "$kubectl wait --for=delete namespace/$namespace --timeout=5m"
      return
    fi
    sleep 1
  done
}
if k get namespace "$namespace" >/dev/null 2>&1; then
  fail "the namespace $namespace exists, of another run or of one that was killed" "$kubectl delete namespace $namespace"
  skip "$not_checked" "they need the namespace $namespace"
  finish
fi
trap 'clean_up; finish' EXIT
trap 'clean_up; exit 130' INT
trap 'clean_up; exit 143' TERM HUP
if ! error=$(
  k create --filename - 2>&1 >/dev/null <<END
apiVersion: v1
kind: Namespace
metadata:
  name: $namespace
  labels:
    voting-doctor: "$run"
$labels
END
); then
  skip "$not_checked" "$(printf '%s\n' "$error" | one_line)"
  exit
fi
n() { k --namespace "$namespace" "$@"; }

# get NAME TEMPLATE: a part of a pod.
get() { n get pod "$1" --ignore-not-found --output "go-template=$2" 2>/dev/null; }

# because NAME...: the latest event of the first of these objects that has one, in parentheses.
because() {
  for name; do
    reason=$(n get events --field-selector "involvedObject.name=$name" --sort-by=.metadata.creationTimestamp \
      --output 'go-template={{range .items}}{{printf "%.300q\n" .message}}{{end}}' 2>/dev/null | tail -n 1 | tr -d '"\\' | one_line)
    if [ -n "$reason" ]; then
      printf ' (%s)' "$reason"
      return
    fi
  done
}

# pod NAME LABELS IMAGE COMMAND: a pod like those of the manifests, which ends by itself.
pod() {
  cat <<END
---
apiVersion: v1
kind: Pod
metadata:
  name: $1
  labels: {$2}
  annotations: {sidecar.istio.io/nativeSidecar: "true", sidecar.istio.io/proxyCPU: 10m, sidecar.istio.io/proxyMemory: 40Mi}
spec:
  restartPolicy: Never
  activeDeadlineSeconds: 900
  terminationGracePeriodSeconds: 1
  automountServiceAccountToken: false
  enableServiceLinks: false
  securityContext: {runAsNonRoot: true, runAsUser: 999, runAsGroup: 999, fsGroup: 999, seccompProfile: {type: RuntimeDefault}}
  containers:
    - name: doctor
      image: $3
      command: $4
      resources: {requests: {cpu: 1m, memory: 8Mi}}
      securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
END
}
without='sidecar.istio.io/inject: "false"'

# documents KIND NAME...: these documents of step 1.
documents() {
  awk -v kind="$1" -v names=" $2 " '
    function flush() {
      if (is_kind && index(names, " " name " ")) printf "---\n%s", text
      text = ""; is_kind = 0; name = ""
    }
    /^---/ { flush(); next }
    /^kind:/ { is_kind = $2 == kind }
    /^  name:/ && name == "" { name = $2 }
    { text = text $0 "\n" }
    END { flush() }' "$here/step-1-create-voting-app.yaml"
}
images=$(cat "$here"/step-*.yaml | sed -n 's/^ *\(- \)*image: *//p' | sort -u)
redis=$(printf '%s\n' "$images" | grep 'redis' | head -n 1)

policy='change the policy that the message names'

# A new namespace gets its service account a moment later.
end=$(($(now) + briefly))
until n get serviceaccount default >/dev/null 2>&1 || [ "$(now)" -ge "$end" ]; do sleep 1; done

# Injection: what the webhook makes of a pod, and whether the result complies with the namespace's pod security standard.
template='{{range .spec.initContainers}}{{.name}} {{end}}{{range .spec.containers}}{{.name}} {{end}}'
injected=''
made=$(pod injection 'app: voting-doctor' "$redis" '[sleep, "900"]' | n create --dry-run=server --output "go-template=$template" --filename - 2>&1)
cni='istioctl install --set components.cni.enabled=true, or on AKS az aks mesh proxy-redirection-mechanism --resource-group GROUP --name CLUSTER --mechanism CNIChaining'
label_it="$kubectl label namespace voting"
[ -n "$has_namespace" ] || label_it="$kubectl apply -f k8s/step-0-create-namespace.yaml && $label_it"
if [ -n "$add_on" ]; then
  label_it="$label_it istio-injection- istio.io/rev=$add_on --overwrite"
else
  case $revisions in
    '' | *default*) label_it="$label_it istio.io/rev- istio-injection=enabled --overwrite" ;;
    *) label_it="$label_it istio-injection- istio.io/rev=${revisions##* } --overwrite" ;;
  esac
fi
case $made in
  *'failed calling webhook'*)
    fail "the webhook that injects sidecars fails ($(printf '%s\n' "$made" | sed 's/.*failed calling webhook/failed calling webhook/' | one_line))" \
      "$kubectl rollout restart deployment --selector app=istiod --namespace $istio"
    ;;
  *'violates PodSecurity'*)
    fail "Istio's CNI plugin is not in use: the injected init container violates the restricted pod security standard" "$cni"
    ;;
  *rror*) fail "the cluster rejects a pod ($(printf '%s\n' "$made" | one_line))" "$policy" ;;
  *istio-init*) fail "Istio's CNI plugin is not in use: pods get a privileged init container" "$cni" ;;
  *istio-proxy*)
    injected=yes
    ok "sidecars are injected (labels $(printf '%s\n' "$labels" | grep istio | tr -d ' "' | one_line))"
    ;;
  *)
    has=$(printf '%s\n' "$labels" | grep istio | tr -d ' "' | one_line)
    fail "no sidecar is injected into a pod of a namespace with ${has:-no label of Istio}; revisions of the cluster: ${revisions:-none}" "$label_it"
    ;;
esac

# Everything at once. The policies are there before the pods, as in step 1.
extra=''
if [ -n "$has_namespace" ] && k get ciliumnetworkpolicy allow-dns-on-the-node --namespace voting >/dev/null 2>&1; then
  extra="$here/cilium/allow-dns-on-the-node.yaml"
fi
# The name of the service is long enough to be no other name of the search list.
error=$({
  documents NetworkPolicy 'default-deny-ingress default-deny-egress voting-storage-1-0'
  documents Service voting-storage
  [ -z "$extra" ] || { echo ---; cat "$extra"; }
} | n create --filename - 2>&1 >/dev/null) || fail "the cluster rejects a NetworkPolicy or service ($(printf '%s\n' "$error" | one_line))" "$policy"
address=$(n get service voting-storage --output 'jsonpath={.spec.clusterIP}' 2>/dev/null)

# A client reports in its termination message. Rules reach the node a moment after the pod, so each attempt is repeated.
friend="
          end=\$((SECONDS + $briefly)) name=no address=no egress=open blocked=0 server=
          while read -r key value rest; do [ \"\$key\" != nameserver ] || server=\${server:-\$value}; done </etc/resolv.conf
          while [ \$name\$address\$egress != yesyesclosed ] && ((SECONDS < end)); do
            [ \$address = yes ] || [ \"\$(timeout 3 redis-cli -h $address ping)\" != PONG ] || address=yes
            [ \$address = no ] || [ \$name = yes ] || [ \"\$(timeout 6 redis-cli -h voting-storage ping)\" != PONG ] || name=yes
            if timeout 3 bash -c '</dev/tcp/'\$API/443 2>/dev/null; then blocked=0; else blocked=\$((blocked + 1)); fi
            ((blocked < 3)) || egress=closed
            sleep 1
          done
          echo \"\$name \$address \$egress \$server\" >/dev/termination-log"
stranger="
          end=\$((SECONDS + $briefly)) blocked=0
          while ((blocked < 3 && SECONDS < end)); do
            if [ \"\$(timeout 3 redis-cli -h $address ping)\" = PONG ]; then blocked=0; else blocked=\$((blocked + 1)); fi
            sleep 1
          done
          echo \"\$blocked\" >/dev/termination-log"
started=$(now)
api=$(k get service kubernetes --namespace default --output 'jsonpath={.spec.clusterIP}' 2>/dev/null)
script() { printf '\n        - bash\n        - -c\n        - |%s' "$1"; }
error=$({
  if [ "$injected" ]; then pod sidecar 'app: voting-doctor' "$redis" '[sleep, "900"]'; fi
  pod server "app: voting-storage, version: \"1.0\", $without" "$redis" '[redis-server, --save, "", --protected-mode, "no"]'
  echo '      ports: [{name: redis, containerPort: 6379}]'
  pod friend "app: voting-app, $without" "$redis" "$(script "$friend")"
  printf '      env: [{name: API, value: "%s"}]\n' "$api"
  # All images on one node. That the program ends at once, or is missing, does not matter.
  pod images "app: voting-doctor, $without" "$redis" '[redis-server, --version]'
  number=0
  for image in $images; do
    number=$((number + 1))
    printf '    - name: image-%s\n      image: %s\n      args: [--version]\n' "$number" "$image"
    echo '      resources: {requests: {cpu: 1m, memory: 8Mi}}'
    echo '      terminationMessagePolicy: FallbackToLogsOnError'
    echo '      securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}'
  done
  if [ "$class" ] && [ "$reclaim" = Delete ]; then
    documents PersistentVolumeClaim redis-pv-claim
    pod volume "app: voting-doctor, $without" "$redis" "$(script '
          echo doctor >/data/doctor')"
    printf '      volumeMounts: [{name: data, mountPath: /data}]\n'
    printf '  volumes: [{name: data, persistentVolumeClaim: {claimName: redis-pv-claim}}]\n'
  fi
} | n create --filename - 2>&1 >/dev/null) || fail "the cluster rejects a pod ($(printf '%s\n' "$error" | one_line))" "$policy"

# --------------------------------------------------------------------------------------------------------------- results

# within SECONDS COMMAND...: repeats a command until it succeeds.
within() {
  end=$(($(now) + $1))
  shift
  until "$@"; do
    [ "$(now)" -lt "$end" ] || return 1
    sleep 1
  done
}

# The rest of the time limit; all pods but one were created together.
left() { echo $((started + patience - $(now))); }

# Images. A pull that failed once is tried again.
states() {
  get images '{{range .status.containerStatuses}}{{.name}} {{if .imageID}}pulled{{else}}{{with .state.waiting}}{{or .reason "waiting"}}{{else}}pulled{{end}}{{end}} {{with .state.waiting}}{{with .message}}{{printf "%q" .}}{{end}}{{end}}{{with .state.terminated}}{{with .message}}{{printf "%q" .}}{{end}}{{end}}{{"\n"}}{{end}}'
}
all_pulled_or_not() {
  states=$(states)
  [ -n "$states" ] && ! printf '%s\n' "$states" | grep -qE '^[^ ]+ (waiting|ContainerCreating|PodInitializing|ErrImagePull) '
}
within "$(left)" all_pulled_or_not
number=0 pulled=0 has_redis=''
for image in $images; do
  number=$((number + 1))
  read -r _ state message <<END
$(printf '%s\n' "$states" | grep "^image-$number ")
END
  case $image in
    *.azurecr.io/*) remedy="az aks update --resource-group GROUP --name CLUSTER --attach-acr $(printf '%s\n' "$image" | cut -d . -f 1), or publish it: docker buildx bake --file docker/docker-bake.hcl --push" ;;
    */voting-*) remedy="REGISTRY=${image%/*} docker buildx bake --file docker/docker-bake.hcl --push, and let the nodes read from there" ;;
    voting-*) remedy="cargo xtask images, then kind load docker-image $image (k3d image import, minikube image load), or name your registry in kustomize/cluster/kustomization.yaml" ;;
    *) remedy="name a registry that has it in kustomize/cluster/kustomization.yaml, under images" ;;
  esac
  case $state in
    ImagePullBackOff | ErrImagePull | InvalidImageName | ErrImageNeverPull | ImageInspectError | RegistryUnavailable | SignatureValidationFailed)
      fail "the image $image cannot be pulled ($(printf '%s\n' "$message" | tr -d '"\\' | sed 's/.*failed to /failed to /' | one_line))" "$remedy"
      ;;
    '' | waiting | ContainerCreating | PodInitializing)
      fail "the image $image was not pulled within $patience s$(because images)" "$kubectl get events --all-namespaces --field-selector type=Warning"
      ;;
    *)
      case $message in
        *'exec format error'*)
          fail "the image $image is for another processor than the node's" \
            'docker buildx bake --file docker/docker-bake.hcl --push, which builds for amd64 and arm64'
          ;;
        *) pulled=$((pulled + 1)) ;;
      esac
      [ "$image" != "$redis" ] || has_redis=yes
      ;;
  esac
done
[ "$pulled" != "$number" ] || ok "all $number images can be pulled"

if [ -z "$has_redis" ]; then
  skip 'CNI, volumes, NetworkPolicies and DNS' "the pods for it need the image $redis"
  exit
fi

# ended NAME: whether a pod has.
ended() {
  case $(get "$1" '{{.status.phase}}') in
    Succeeded | Failed) ;;
    *) return 1 ;;
  esac
}

# report NAME: a client's termination message.
report() { get "$1" '{{range .status.containerStatuses}}{{with .state.terminated}}{{.message}}{{end}}{{end}}' | one_line; }
has_report() { report=$(report "$1") && [ -n "$report" ]; }

dns=''
engine='az aks update --resource-group GROUP --name CLUSTER --network-policy calico, on minikube minikube start --cni=calico, on EKS turn them on in the VPC CNI'
network() {
  if ! within "$(($(left) + briefly))" has_report friend; then
    skip 'NetworkPolicies and DNS' "the pod for it did not end within $patience s$(because friend)"
    return
  fi
  read -r by_name by_address egress server <<END
$report
END
  case $report in
    yes\ * | no\ *) ;;
    *)
      skip 'NetworkPolicies and DNS' "the pod for it ended with $report"
      return
      ;;
  esac
  if [ "$by_address" != yes ]; then
    fail 'a pod does not reach another one that the NetworkPolicies admit' "$kubectl get pods --namespace kube-system, which should show the network plugin"
    return
  fi
  if [ "$by_name" = yes ]; then
    dns=yes
    ok "DNS under the default deny (name server $server)"
  else
    # Which service this is.
    template="{{range .items}}{{if eq .spec.clusterIP \"$server\"}}{{.metadata.namespace}} {{.metadata.name}}{{end}}{{end}}"
    read -r place service <<END
$(k get services --all-namespaces --output "go-template=$template" 2>/dev/null)
END
    ready=''
    if [ "$place" ]; then
      template='{{range .items}}{{range .endpoints}}{{if .conditions.ready}}ready {{end}}{{end}}{{end}}'
      ready=$(k get endpointslices --namespace "$place" --selector "kubernetes.io/service-name=$service" --output "go-template=$template" 2>/dev/null)
    fi
    if [ "$place" ] && [ -z "$ready" ]; then
      fail "the cluster's DNS, $service in $place, has no ready pod" "$kubectl scale deployment --selector k8s-app=kube-dns --replicas=2 --namespace $place, or see $kubectl describe pods --selector k8s-app=kube-dns --namespace $place"
    elif [ -z "$place" ] && k get customresourcedefinition ciliumnetworkpolicies.cilium.io >/dev/null 2>&1; then
      fail "the default deny cuts pods off from the name server on the node, $server" \
        "$kubectl apply -f k8s/cilium/allow-dns-on-the-node.yaml --namespace voting"
    else
      fail "the default deny cuts pods off from the name server $server${place:+ ($service in $place)}" \
        'add it to default-deny-egress in k8s/step-1-create-voting-app.yaml'
    fi
  fi
  pod stranger "app: voting-doctor, $without" "$redis" "$(script "$stranger")" | n create --filename - >/dev/null 2>&1
  if ! within "$patience" has_report stranger; then
    skip 'NetworkPolicies' "the pod for it did not end within $patience s$(because stranger)"
  elif [ "$report" != 3 ] && [ "$egress" = open ]; then
    fail 'nothing enforces NetworkPolicies: every pod reaches every other' "$engine"
  elif [ "$report" != 3 ]; then
    fail 'NetworkPolicies are not enforced for ingress' "$engine"
  elif [ "$egress" = open ]; then
    fail 'NetworkPolicies are not enforced for egress' "$engine"
  else
    ok 'NetworkPolicies are enforced'
  fi
}
network

# A sidecar starts if its traffic is redirected and istiod answers, under the policies of step 1.
if [ "$injected" ] && [ -z "$dns" ]; then
  skip 'the start of a sidecar' 'it needs DNS'
elif [ "$injected" ]; then
  starts() {
    case $(get sidecar '{{.status.phase}} {{range .status.initContainerStatuses}}{{if eq .name "istio-validation"}}{{with .state.terminated}}{{.exitCode}}{{end}}{{end}}{{end}}') in
      'Running '*) sidecar=starts ;;
      'Failed '*[1-9]*) sidecar=unredirected ;;
      'Failed '*) sidecar=failed ;;
      *) return 1 ;;
    esac
  }
  sidecar=waits
  within "$briefly" starts
  case $sidecar in
    starts) ok 'a pod with a sidecar starts under the default deny' ;;
    unredirected) fail "Istio's CNI plugin does not redirect the traffic of pods on the node $(get sidecar '{{.spec.nodeName}}')" "$kubectl rollout restart daemonset --namespace $istio, or without one $cni" ;;
    *) fail "a pod with a sidecar does not start within $briefly s$(because sidecar)" "$kubectl rollout restart deployment --selector app=istiod --namespace $istio" ;;
  esac
fi

# The volume, until the pod has written to it.
if [ -z "$class" ]; then
  skip 'volumes' 'there is no storage class'
elif [ "$reclaim" != Delete ]; then
  skip 'volumes' "the storage class $class would keep the volume of this check (reclaim policy $reclaim)"
elif ! within "$(left)" ended volume; then
  fail "no volume of the storage class $class within $patience s$(because redis-pv-claim volume)" \
    "$kubectl get pods --namespace kube-system, which should show the driver of that class, or use another class: the component ../storage-class"
elif [ "$(get volume '{{.status.phase}}')" = Failed ]; then
  fail "a pod cannot write to a volume of the storage class $class$(because volume)" \
    'use a class whose driver supports fsGroup: the component ../storage-class of kustomize/cluster/kustomization.yaml'
else
  ok "a volume of the storage class $class"
fi
