#!/bin/bash
# The node: the first process of network, mount and process namespaces of its own. Everything it starts ends with it, and its
# mounts, interfaces and packet filter rules vanish with the namespaces.
#
#   start.sh STATE PROGRAMS IMAGES
#
# STATE is the folder for everything the node writes, PROGRAMS the folder of tests/cluster's programs, IMAGES the archive.
set -euo pipefail
here=$(dirname "$(realpath "$0")")
state=$1 programs=$2 images=$3
export PATH=$programs:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

# A line on the standard input says that the cluster is ready. Until then the node ends with the program that starts it.
exec 3<&0 </dev/null
trap 'exit 1' USR1
{ read -r || kill -USR1 1; } <&3 &
exec 3<&-

# Volumes and the containers' namespaces are mounted by one container for others, within this namespace.
mount --make-rshared /
for folder in etc opt var; do
  mkdir -p "$state/$folder"/{upper,work}
  mount -t overlay "$folder" -o "lowerdir=/$folder,upperdir=$state/$folder/upper,workdir=$state/$folder/work" "/$folder"
done
# An overlay can't be a layer of another one.
for folder in containerd kubelet; do
  mkdir -p "$state/$folder" "/var/lib/$folder"
  mount --bind "$state/$folder" "/var/lib/$folder"
done
mount -t tmpfs run /run
mkdir -p "$state/log" "$state/volumes" /etc/cni/net.d /opt/cni/bin /etc/kubernetes
cp /usr/lib/cni/* /opt/cni/bin/
cp "$here/10-bridge.conflist" /etc/cni/net.d/
: >/etc/resolv.conf

ip link set lo up
# A pair, because an interface without a peer has no carrier. No other interface leads out of the namespace.
ip link add node0 type veth peer name node1
ip link set node1 up
ip link set node0 up
ip address add 192.0.2.1/24 dev node0
ip route add default dev node0
sysctl -qw net.ipv4.ip_forward=1 net.bridge.bridge-nf-call-iptables=1

# The kubelet sets these for the whole machine, unless they have the values it wants.
sysctl=0
while read -r name value; do
  echo "$value" >"$state/sysctl.$((++sysctl))"
  mount --bind "$state/sysctl.$sysctl" "/proc/sys/$name"
done <<END
kernel/keys/root_maxbytes 25000000
kernel/keys/root_maxkeys 1000000
kernel/panic 10
kernel/panic_on_oops 1
vm/overcommit_memory 1
vm/panic_on_oom 0
END

# cgroup v1 has a hierarchy for each controller, v2 a single one.
for hierarchy in /sys/fs/cgroup /sys/fs/cgroup/*; do
  [ -e "$hierarchy/cgroup.procs" ] || continue
  mkdir -p "$hierarchy/voting-cluster"
  [ ! -e "$hierarchy/cgroup.controllers" ] ||
    for controller in $(cat "$hierarchy/cgroup.controllers"); do
      echo "+$controller" >"$hierarchy/cgroup.subtree_control"
    done
done

kubeadm() { kube kubeadm "$@" --config "$here/kubeadm.yaml" >>"$state/log/kubeadm.log" 2>&1; }
kubeadm init phase certs all
kubeadm init phase kubeconfig all
pki=/etc/kubernetes/pki

# Starts a program, and again when it ends.
keep() {
  local log=$state/log/$1.log
  shift
  while :; do
    "$@" >>"$log" 2>&1 || true
    sleep 0.5
  done &
}
keep etcd kube etcd --data-dir "$state/etcd" --unsafe-no-fsync --log-level warn
keep apiserver kube kube-apiserver \
  --advertise-address=192.0.2.1 \
  --authorization-mode=Node,RBAC \
  --client-ca-file=$pki/ca.crt \
  --enable-admission-plugins=NodeRestriction \
  --enable-aggregator-routing=true \
  --etcd-servers=http://127.0.0.1:2379 \
  --kubelet-client-certificate=$pki/apiserver-kubelet-client.crt \
  --kubelet-client-key=$pki/apiserver-kubelet-client.key \
  --kubelet-preferred-address-types=InternalIP \
  --proxy-client-cert-file=$pki/front-proxy-client.crt \
  --proxy-client-key-file=$pki/front-proxy-client.key \
  --requestheader-allowed-names=front-proxy-client \
  --requestheader-client-ca-file=$pki/front-proxy-ca.crt \
  --requestheader-extra-headers-prefix=X-Remote-Extra- \
  --requestheader-group-headers=X-Remote-Group \
  --requestheader-username-headers=X-Remote-User \
  --service-account-issuer=https://kubernetes.default.svc.cluster.local \
  --service-account-key-file=$pki/sa.pub \
  --service-account-signing-key-file=$pki/sa.key \
  --service-cluster-ip-range=10.96.0.0/16 \
  --tls-cert-file=$pki/apiserver.crt \
  --tls-private-key-file=$pki/apiserver.key
keep containerd containerd --config "$here/containerd.toml"

until ctr version; do sleep 0.2; done >/dev/null 2>&1
ctr --namespace k8s.io images import "$images" >"$state/log/import.log" 2>&1
rm "$images"
export KUBECONFIG=/etc/kubernetes/super-admin.conf
until kube kubectl get --raw /readyz; do sleep 0.2; done >/dev/null 2>&1
keep controller-manager kube kube-controller-manager \
  --allocate-node-cidrs \
  --cluster-cidr=10.244.0.0/16 \
  --cluster-signing-cert-file=$pki/ca.crt \
  --cluster-signing-key-file=$pki/ca.key \
  --kubeconfig=/etc/kubernetes/controller-manager.conf \
  --leader-elect=false \
  --root-ca-file=$pki/ca.crt \
  --service-account-private-key-file=$pki/sa.key \
  --service-cluster-ip-range=10.96.0.0/16 \
  --use-service-account-credentials
keep scheduler kube kube-scheduler --kubeconfig=/etc/kubernetes/scheduler.conf --leader-elect=false
keep kubelet kube kubelet --config="$here/kubelet.yaml" --kubeconfig=/etc/kubernetes/kubelet.conf \
  --hostname-override=node --node-ip=192.0.2.1
keep kube-proxy kube kube-proxy --kubeconfig=$KUBECONFIG --proxy-mode=nftables --cluster-cidr=10.244.0.0/16 \
  --hostname-override=node --oom-score-adj=0 --conntrack-max-per-core=0
# NetworkPolicies, and addresses for services of the type LoadBalancer.
keep kube-router env POD_NAME=node POD_NAMESPACE=kube-system kube-router --kubeconfig=$KUBECONFIG --hostname-override=node \
  --run-router=false --run-service-proxy=false --run-firewall=true --service-cluster-ip-range=10.96.0.0/16 \
  --run-loadbalancer=true --loadbalancer-default-class=true --loadbalancer-ip-range=198.51.100.8/29 --metrics-port=0
keep volumes volumes node "$state/volumes"
cp $KUBECONFIG "$state/kubeconfig"
wait
