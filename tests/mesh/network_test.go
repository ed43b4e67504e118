package mesh

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// networkAllows evaluates the NetworkPolicies below the mesh: both the policies of the caller and of the called pod must allow the call.
func (c *cluster) networkAllows(from, to *corev1.Pod, port int) bool {
	out, in := true, true
	for _, key := range c.sortedKeys() {
		policy, ok := c.documents[key].object.(*networkingv1.NetworkPolicy)
		if !ok {
			continue
		}
		if governs(policy, from, networkingv1.PolicyTypeEgress) {
			out = false
		}
		if governs(policy, to, networkingv1.PolicyTypeIngress) {
			in = false
		}
	}
	for _, key := range c.sortedKeys() {
		policy, ok := c.documents[key].object.(*networkingv1.NetworkPolicy)
		if !ok {
			continue
		}
		if governs(policy, from, networkingv1.PolicyTypeEgress) {
			out = out || slices.ContainsFunc(policy.Spec.Egress, func(rule networkingv1.NetworkPolicyEgressRule) bool {
				return matchPeers(rule.To, to) && matchPorts(rule.Ports, port)
			})
		}
		if governs(policy, to, networkingv1.PolicyTypeIngress) {
			in = in || slices.ContainsFunc(policy.Spec.Ingress, func(rule networkingv1.NetworkPolicyIngressRule) bool {
				return matchPeers(rule.From, from) && matchPorts(rule.Ports, port)
			})
		}
	}
	return out && in
}

func governs(policy *networkingv1.NetworkPolicy, pod *corev1.Pod, direction networkingv1.PolicyType) bool {
	return pod.Namespace == namespace && slices.Contains(policy.Spec.PolicyTypes, direction) &&
		matchSelector(&policy.Spec.PodSelector, pod.Labels)
}

func matchSelector(selector *metav1.LabelSelector, set map[string]string) bool {
	parsed, err := metav1.LabelSelectorAsSelector(selector)
	return err == nil && parsed.Matches(labels.Set(set))
}

func matchPeers(peers []networkingv1.NetworkPolicyPeer, pod *corev1.Pod) bool {
	return len(peers) == 0 || slices.ContainsFunc(peers, func(peer networkingv1.NetworkPolicyPeer) bool {
		if peer.IPBlock != nil {
			return false // an address outside of all pods
		}
		inNamespace := pod.Namespace == namespace
		if peer.NamespaceSelector != nil {
			inNamespace = matchSelector(peer.NamespaceSelector, map[string]string{corev1.LabelMetadataName: pod.Namespace})
		}
		return inNamespace && (peer.PodSelector == nil || matchSelector(peer.PodSelector, pod.Labels))
	})
}

func matchPorts(ports []networkingv1.NetworkPolicyPort, port int) bool {
	return len(ports) == 0 || slices.ContainsFunc(ports, func(one networkingv1.NetworkPolicyPort) bool {
		return one.Port.IntValue() == port
	})
}

// TestTheNetworkAllowsNoOtherCalls compares, for every pair of pods, what the NetworkPolicies allow with the few calls that the
// system is made of.
func TestTheNetworkAllowsNoOtherCalls(t *testing.T) {
	c := everything(t)
	pods := append(c.pods(), addOnGateway.pod(), createdGateway.pod(),
		outsider("istio-system", "istiod", map[string]string{"app": "istiod"}),
		outsider("aks-istio-system", "istiod", map[string]string{"app": "istiod"}),
		outsider("kube-system", "dns", nil),
		outsider("monitoring", "prometheus", nil),
		outsider("default", "stranger", map[string]string{"app": "voting-app", "istio": "ingressgateway"}))
	compared := 0
	for _, from := range pods {
		for _, to := range pods {
			if from.Namespace != namespace && to.Namespace != namespace {
				continue
			}
			for _, port := range []int{80, web, redis, mysql, 9090, 15012, 15020, 15021, 53, 443} {
				compared++
				if got, want := c.networkAllows(from, to, port), isPartOfTheSystem(from, to, port); got != want {
					t.Errorf("%s/%s -> %s/%s:%d: %t, want %t", from.Namespace, from.Name, to.Namespace, to.Name, port, got, want)
				}
			}
		}
	}
	t.Logf("%d pairs of pods and ports compared", compared)
}

func isPartOfTheSystem(from, to *corev1.Pod, port int) bool {
	caller, called := component(from), component(to)
	switch port {
	case 80:
		return called == "the created gateway"
	case web:
		return strings.HasSuffix(caller, "gateway") && called == "voting-app" ||
			caller == "voting-app" && called == "voting-analytics"
	case redis, mysql:
		isUser := caller == "voting-app" || caller == "voting-analytics" || caller == "voting-storage-transfer"
		return isUser && workloadOf(to) == map[int]string{redis: storage1, mysql: storage2}[port]
	case 15020, 15021: // of the sidecar, for monitoring
		return to.Namespace == namespace
	case 15012:
		return strings.HasSuffix(called, "/istiod")
	case 53:
		return called == "kube-system/dns"
	}
	return false
}

// component is the name of a pod in these tests: its label in our namespace, otherwise its namespace and name.
func component(pod *corev1.Pod) string {
	if pod.Namespace == namespace {
		if matchSelector(&metav1.LabelSelector{MatchLabels: createdGateway.labels}, pod.Labels) {
			return "the created gateway"
		}
		return pod.Labels["app"]
	}
	return pod.Namespace + "/" + workloadOf(pod)
}

func outsider(namespace, name string, set map[string]string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name + "-0", Labels: set}}
}
