package mesh

import (
	"fmt"
	"slices"
	"sort"
	"strings"
	"testing"

	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	corev1 "k8s.io/api/core/v1"

	"istio.io/istio/pilot/pkg/model"
	"istio.io/istio/pilot/pkg/simulation"
	"istio.io/istio/pilot/test/xds"
	"istio.io/istio/pilot/test/xdstest"
	"istio.io/istio/pkg/config/mesh"
)

// meshUnderTest is Istio's control plane for a cluster, queried as by its proxies.
type meshUnderTest struct {
	t       *testing.T
	cluster *cluster
	server  *xds.FakeDiscoveryServer
	pods    []*corev1.Pod
	proxy   map[string]*model.Proxy
	sim     map[string]*simulation.Simulation
	loads   map[string]map[string]*endpoint.ClusterLoadAssignment
}

func newMesh(t *testing.T, c *cluster) *meshUnderTest {
	t.Helper()
	config := mesh.DefaultMeshConfig()
	server := xds.NewFakeDiscoveryServer(t, xds.FakeOptions{
		KubernetesObjects: c.objects(),
		Configs:           c.configs(),
		MeshConfig:        config,
	})
	return &meshUnderTest{
		t: t, cluster: c.clone(), server: server, pods: c.pods(),
		proxy: map[string]*model.Proxy{},
		sim:   map[string]*simulation.Simulation{},
		loads: map[string]map[string]*endpoint.ClusterLoadAssignment{},
	}
}

// pod finds a pod of a deployment or a job, or fails.
func (m *meshUnderTest) pod(workload string) *corev1.Pod {
	m.t.Helper()
	for _, pod := range m.pods {
		if workloadOf(pod) == workload {
			return pod
		}
	}
	m.t.Fatalf("there is no pod of %s", workload)
	return nil
}

func (m *meshUnderTest) has(workload string) bool {
	return slices.ContainsFunc(m.pods, func(pod *corev1.Pod) bool { return workloadOf(pod) == workload })
}

func (m *meshUnderTest) podAt(address string) *corev1.Pod {
	for _, pod := range m.pods {
		if pod.Status.PodIP == address {
			return pod
		}
	}
	m.t.Fatalf("an endpoint has the address %s, which no pod has", address)
	return nil
}

func (m *meshUnderTest) proxyOf(pod *corev1.Pod) *model.Proxy {
	if known, found := m.proxy[pod.Name]; found {
		return known
	}
	kind := model.SidecarProxy
	if workloadOf(pod) == gatewayName {
		kind = model.Router
	}
	m.proxy[pod.Name] = m.server.SetupProxy(&model.Proxy{
		ID:              pod.Name + "." + pod.Namespace,
		Type:            kind,
		ConfigNamespace: pod.Namespace,
		IPAddresses:     []string{pod.Status.PodIP},
		Labels:          pod.Labels,
		Metadata: &model.NodeMetadata{
			Namespace:      pod.Namespace,
			Labels:         pod.Labels,
			ServiceAccount: pod.Spec.ServiceAccountName,
			ClusterID:      "Kubernetes",
			IstioVersion:   istioVersion,
		},
	})
	return m.proxy[pod.Name]
}

func (m *meshUnderTest) simulationOf(pod *corev1.Pod) *simulation.Simulation {
	if known, found := m.sim[pod.Name]; found {
		return known
	}
	proxy := m.proxyOf(pod)
	m.sim[pod.Name] = simulation.NewSimulation(m.t, m.server, proxy)
	loads := map[string]*endpoint.ClusterLoadAssignment{}
	for _, load := range m.server.Endpoints(proxy) {
		loads[load.ClusterName] = load
	}
	m.loads[pod.Name] = loads
	return m.sim[pod.Name]
}

// reached is the destination of calls: deployments and their share of the calls, or the reason of a denial.
type reached map[string]uint32

func (r reached) String() string {
	var parts []string
	for name, share := range r {
		parts = append(parts, fmt.Sprintf("%s %d", name, share))
	}
	sort.Strings(parts)
	return strings.Join(parts, ", ")
}

// request is one call of a pod: to a service in the mesh or, for the gateway, to itself from outside.
type request struct {
	from    string // a deployment's name, or "gateway"
	service string
	port    int
	cookies []string
	path    string
	// method is that of HTTP; empty: GET.
	method string
	// agent is the header user-agent; empty: that of the caller's release.
	agent string
	// plaintext: the caller has no sidecar, and no identity.
	plaintext bool
}

const (
	dropped    = "dropped by the network"
	denied     = "denied by policy"
	refused    = "refused: not mutual TLS"
	noEndpoint = "no endpoint"
	missing    = "missing subset"
	noRoute    = "no route"
)

// reach follows a call through the caller's configuration to the endpoints, and through each endpoint's own
// configuration, and returns its destination.
func (m *meshUnderTest) reach(r request) reached {
	m.t.Helper()
	caller := m.pod(r.from)
	if r.agent == "" {
		r.agent = agentOf(caller)
	}
	result := reached{}
	if r.from == gatewayName {
		if problem := m.enterGateway(caller); problem != "" {
			return reached{problem: 100}
		}
	}
	if m.cluster.meshless && r.from != gatewayName {
		return m.cluster.direct(caller, r.service, r.port)
	}
	for name, share := range m.targets(caller, r) {
		m.arrive(caller, r, name, share, result)
	}
	return result
}

// agentOf is the header user-agent that voting-app sends: its name and release, as in its image.
func agentOf(pod *corev1.Pod) string {
	return strings.Replace(pod.Spec.Containers[0].Image, ":", "/", 1)
}

// enterGateway is why browsers can't reach the gateway itself, or empty: its policies, and those of the network.
func (m *meshUnderTest) enterGateway(pod *corev1.Pod) string {
	var chain *listener.FilterChain
	port := int(m.cluster.gateway.listens)
	result := m.simulationOf(pod).Run(simulation.Call{
		Address: "0.0.0.0", Port: port, Protocol: simulation.HTTP, HostHeader: "vote.example", CallMode: simulation.CallModeGateway,
		CustomListenerValidations: []simulation.CustomFilterChainValidation{func(c *listener.FilterChain) error {
			chain = c
			return nil
		}},
	})
	switch {
	case result.Error != nil:
		return noRoute + ": " + result.Error.Error()
	case !allowed(m.t, chain, "", uint32(port)):
		return denied
	case !m.cluster.networkAllows(outsider("", "browser", nil), pod, port):
		return dropped
	}
	return ""
}

// targets are the Envoy clusters to which the caller's own configuration sends the call.
func (m *meshUnderTest) targets(caller *corev1.Pod, r request) map[string]uint32 {
	sim := m.simulationOf(caller)
	call := simulation.Call{
		Address:    virtualAddress(r.service),
		Port:       r.port,
		Path:       r.path,
		Protocol:   simulation.HTTP,
		HostHeader: fmt.Sprintf("%s:%d", r.service, r.port),
		CallMode:   simulation.CallModeOutbound,
	}
	if r.from == gatewayName {
		call.Address, call.Port, call.HostHeader, call.CallMode = "0.0.0.0", int(m.cluster.gateway.listens), "vote.example", simulation.CallModeGateway
	} else if r.port != 8080 {
		call.Protocol = simulation.TCP
	}
	result := sim.Run(call)
	if result.Error != nil {
		return map[string]uint32{noRoute + ": " + result.Error.Error(): 100}
	}
	if call.Protocol == simulation.TCP {
		return map[string]uint32{result.ClusterMatched: 100}
	}
	// Istio's simulation looks at a route's path only, so the headers are matched here.
	routes := xdstest.ExtractRouteConfigurations(sim.Routes)[result.RouteConfigMatched]
	for _, host := range routes.GetVirtualHosts() {
		if host.Name == result.VirtualHostMatched {
			return matchRoute(m.t, host, r)
		}
	}
	return map[string]uint32{noRoute: 100}
}

// arrive adds to the result where the share of the calls that was sent to an Envoy cluster ends.
func (m *meshUnderTest) arrive(caller *corev1.Pod, r request, name string, share uint32, result reached) {
	m.t.Helper()
	sim := m.simulationOf(caller)
	if strings.HasPrefix(name, noRoute) {
		result[name] += share
		return
	}
	if xdstest.ExtractCluster(name, sim.Clusters) == nil {
		result[missing] += share
		return
	}
	seen := map[string]bool{}
	for _, locality := range m.loads[caller.Name][name].GetEndpoints() {
		for _, one := range locality.GetLbEndpoints() {
			address := one.GetEndpoint().GetAddress().GetSocketAddress()
			pod := m.podAt(address.GetAddress())
			seen[m.enter(caller, pod, int(address.GetPortValue()), r, hasMutualTLS(one))] = true
		}
	}
	if len(seen) == 0 {
		result[noEndpoint] += share
	}
	// The load balancer distributes calls to several deployments of one cluster.
	for outcome := range seen {
		result[outcome] += share / uint32(len(seen))
	}
}

// enter checks whether the configuration of the called pod allows the call.
func (m *meshUnderTest) enter(caller, pod *corev1.Pod, port int, r request, mutualTLS bool) string {
	if m.cluster.meshless {
		return m.cluster.arriveAt(caller, pod, port)
	}
	var chain *listener.FilterChain
	call := simulation.Call{
		Address:  pod.Status.PodIP,
		Port:     port,
		Path:     r.path,
		Protocol: simulation.HTTP,
		TLS:      simulation.MTLS,
		CallMode: simulation.CallModeInbound,
		CustomListenerValidations: []simulation.CustomFilterChainValidation{func(c *listener.FilterChain) error {
			chain = c
			return nil
		}},
	}
	principal := fmt.Sprintf("spiffe://cluster.local/ns/%s/sa/%s", caller.Namespace, caller.Spec.ServiceAccountName)
	if r.plaintext || !mutualTLS {
		call.TLS, principal = simulation.Plaintext, ""
	}
	if port != 8080 {
		call.Protocol = simulation.TCP
	}
	result := m.simulationOf(pod).Run(call)
	if result.Error != nil {
		return refused
	}
	if !allowed(m.t, chain, principal, uint32(port)) {
		return denied
	}
	// Last: a denial by the mesh must not depend on network policies.
	if !m.cluster.networkAllows(caller, pod, port) {
		return dropped
	}
	return workloadOf(pod)
}

func workloadOf(pod *corev1.Pod) string {
	return pod.Name[:strings.LastIndex(pod.Name, "-")]
}

// hasMutualTLS says whether the caller's Envoy would use mutual TLS towards this endpoint: automatic mutual TLS marks it.
func hasMutualTLS(one *endpoint.LbEndpoint) bool {
	match := one.GetMetadata().GetFilterMetadata()["envoy.transport_socket_match"]
	return match.GetFields()["tlsMode"].GetStringValue() == "istio"
}
