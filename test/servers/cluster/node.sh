#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# The first process of a node: a machine of its own as far as mounts, network,
# processes and the host's name go. When it ends, the kernel ends everything on
# the node and takes the mounts and the network with it.
#
# test/cluster starts it by unshare and has put into the folder that is its
# argument: bin/ (links to the programs), env (the variables used here), and the
# programs' configuration. Logs go to log/.
set -eu
dir=$1
cd "$dir"
set -a
# shellcheck disable=SC1091 # written by test/cluster
. ./env
set +a
PATH=$dir/bin:$PATH
hostname "$NODE"

# The kubelet's mounts have to propagate, inside the node only.
mount --make-rshared /
# What the programs keep in places of their own choosing they keep in dir; so
# does a hostPath volume below /var/lib.
for path in /var/lib /var/log; do
  mkdir -p "$dir/fs$path"
  mount --bind "$dir/fs$path" "$path"
done
mount -t tmpfs -o mode=755 run /run
# The kubelet sets these for the whole machine unless they read so already: it
# sees files that do.
mkdir sysctl
while read -r key value; do
  echo "$value" > "sysctl/${key//\//.}"
  mount --bind "sysctl/${key//\//.}" "/proc/sys/$key"
done << END
vm/overcommit_memory 1
vm/panic_on_oom 0
kernel/panic 10
kernel/panic_on_oops 1
kernel/keys/root_maxkeys 1000000
kernel/keys/root_maxbytes 25000000
END

# The other end of eth0 is on the machine. There is no default route: nothing on
# the node reaches further than that.
ip link set lo up
until ip link show eth0 > /dev/null 2>&1; do sleep 0.05; done
ip address add "$NODE_IP/24" dev eth0
ip link set eth0 up
echo 1 > /proc/sys/net/ipv4/ip_forward

keep() { # NAME COMMAND...: run it, and again whenever it ends
  local name=$1
  shift
  while :; do
    local code=0
    "$@" >> "log/$name.log" 2>&1 || code=$?
    echo "$name has ended with code $code"
    sleep 1
  done &
}

keep etcd etcd --data-dir "$dir/etcd" --unsafe-no-fsync --log-level warn \
  --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
  --listen-peer-urls http://127.0.0.1:2380 --initial-advertise-peer-urls http://127.0.0.1:2380 \
  --initial-cluster default=http://127.0.0.1:2380
keep kube-apiserver kube-apiserver --etcd-servers http://127.0.0.1:2379 \
  --bind-address 0.0.0.0 --secure-port 6443 --advertise-address "$NODE_IP" \
  --tls-cert-file "$API_CERT" --tls-private-key-file "$API_KEY" --client-ca-file "$CA" \
  --token-auth-file "$dir/tokens.csv" --authorization-mode Node,RBAC --enable-admission-plugins NodeRestriction \
  --service-account-issuer https://kubernetes.default.svc \
  --service-account-key-file "$ACCOUNT_KEY" --service-account-signing-key-file "$ACCOUNT_KEY" \
  --service-cluster-ip-range "$SERVICES" --allow-privileged=true --profiling=false \
  --kubelet-preferred-address-types InternalIP --kubelet-certificate-authority "$CA" \
  --kubelet-client-certificate "$API_CLIENT_CERT" --kubelet-client-key "$API_CLIENT_KEY"
keep containerd containerd --config "$dir/containerd.toml"
until ctr version > /dev/null 2>&1; do sleep 0.1; done
ctr --namespace k8s.io images import "$dir/pause.tar"
until kubectl --kubeconfig "$dir/admin.conf" get --raw /readyz > /dev/null 2>&1; do sleep 0.2; done
keep kube-controller-manager kube-controller-manager --kubeconfig "$dir/kube-controller-manager.conf" \
  --leader-elect=false --bind-address 127.0.0.1 --service-account-private-key-file "$ACCOUNT_KEY" \
  --root-ca-file "$CA" --use-service-account-credentials
keep kube-scheduler kube-scheduler --kubeconfig "$dir/kube-scheduler.conf" --leader-elect=false --bind-address 127.0.0.1
keep coredns coredns -conf "$dir/Corefile"
keep kube-proxy kube-proxy --config "$dir/kube-proxy.yaml"
keep kubelet kubelet --config "$dir/kubelet.yaml" --kubeconfig "$dir/kubelet.conf" \
  --hostname-override "$NODE" --node-ip "$NODE_IP"
# Nothing that ends here ends the node; as its first process it also takes in
# the processes that have lost their parent.
while :; do wait -n || true; sleep 0.2; done
