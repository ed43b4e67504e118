package mesh

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// routingGateway is the gateway that application routing creates for the Gateway of the Gateway API.
var routingGateway = gateway{
	namespace, "voting-app-gateway-approuting-istio", "voting-app-gateway-approuting-istio",
	map[string]string{
		"gateway.networking.k8s.io/gateway-name":       "voting-app-gateway",
		"gateway.networking.k8s.io/gateway-class-name": string(routingClass.Name),
	}, 80,
}

// routingClass is application routing's class of gateways, whose controller is Istio's.
var routingClass = &gatewayv1.GatewayClass{
	ObjectMeta: metav1.ObjectMeta{Name: "approuting-istio"},
	Spec:       gatewayv1.GatewayClassSpec{ControllerName: "istio.io/gateway-controller"},
}

// direct is where a call ends without a mesh: at the endpoints of the service's port.
func (c *cluster) direct(caller *corev1.Pod, name string, port int) reached {
	pods := c.pods()
	result := reached{}
	for _, service := range c.services() {
		if service.Name != name {
			continue
		}
		for _, one := range service.Spec.Ports {
			if int(one.Port) != port {
				continue
			}
			for _, slice := range c.endpointSlices(service, pods) {
				for _, listed := range slice.Ports {
					for _, endpoint := range slice.Endpoints {
						if *listed.Name == one.Name {
							pod := pods[slices.IndexFunc(pods, func(pod *corev1.Pod) bool { return pod.Name == endpoint.TargetRef.Name })]
							result[c.arriveAt(caller, pod, int(*listed.Port))]++
						}
					}
				}
			}
		}
	}
	if len(result) == 0 {
		return reached{noEndpoint: 100}
	}
	for outcome := range result {
		result[outcome] = 100 / uint32(len(result))
	}
	return result
}

// arriveAt is where a call ends that only the network can prevent.
func (c *cluster) arriveAt(caller, pod *corev1.Pod, port int) string {
	if !c.networkAllows(caller, pod, port) {
		return dropped
	}
	return workloadOf(pod)
}

// settings are the calls that a pod makes by its environment.
func settings(pod *corev1.Pod) []request {
	values := map[string]string{"REDIS_PORT": "6379", "MYSQL_PORT": "3306"} // the programs' own
	for _, variable := range pod.Spec.Containers[0].Env {
		values[variable.Name] = variable.Value
	}
	var calls []request
	for _, service := range []string{"ANALYTICS", "REDIS", "MYSQL"} {
		if host := values[service+"_HOST"]; host != "" {
			port, _ := strconv.Atoi(values[service+"_PORT"])
			calls = append(calls, request{from: workloadOf(pod), service: host, port: port})
		}
	}
	return calls
}

// TestApplicationRoutingNeedsNoMesh takes the steps of the Gateway API's track and their ways back as docs/platforms.md describes it
// for application routing, with the rendered files and without a mesh. After every single document every legitimate request succeeds,
// and after every step the browsers reach what the step's table says, and each release its own analytics and its own store alone.
func TestApplicationRoutingNeedsNoMesh(t *testing.T) {
	chapter := blocksIn(t, "docs/platforms.md", "AKS with application routing")
	if len(chapter) != 3 {
		t.Fatalf("the chapter has %d blocks", len(chapter))
	}
	update, restore, remove := chapter[0], chapter[1], chapter[2]
	c := newCluster()
	c.gateway, c.meshless = routingGateway, true
	r := &routing{t, &kubectl{cluster: c, rendered: renderWith(t, "components: [../approuting]\n")}, apiTrack.of(tutorial(t)), analytics10}
	k := r.kubectl
	k.changed = func(what string) error { return servedWithoutMesh(t, k.cluster, r.analytics, what) }
	if _, err := k.run(words("apply -f k8s/step-0-create-namespace.yaml"), nil); err != nil {
		t.Fatal(err)
	}
	r.take("Step 1", false)
	r.check("Step 1")

	r.take("Step 2", false)
	r.switchAnalytics(update, analytics11)
	r.check("Step 2")
	r.backAndForth("Step 2", func() { r.switchAnalytics(restore, analytics10) })
	for _, step := range []string{"Step 3", "Step 3b", "Step 4"} {
		r.take(step, false)
		r.check(step)
		r.backAndForth(step, func() { r.take(step, true) })
	}
	runBlock(t, k, remove)
	r.check("Step 5")
	for _, key := range k.sortedKeys() {
		if key != "persistentvolumeclaim/redis-pv-claim" && (strings.HasSuffix(key, "-1-0") || strings.HasSuffix(key, "-1-1")) {
			t.Errorf("%s is left over", key)
		}
	}
}

// routing is a poll on a cluster with application routing.
type routing struct {
	t         *testing.T
	kubectl   *kubectl
	blocks    []block
	analytics string // what app 1.0 calls
}

// take runs the tutorial's commands of a step, but for those that apply files of the mesh or work on its kinds.
func (r *routing) take(step string, isWayBack bool) {
	r.t.Helper()
	for _, b := range r.blocks {
		isOfMesh := strings.Contains(b.commands, " istio/") || strings.Contains(b.commands, "authorizationpolicy")
		if b.step() == step && b.isWayBack() == isWayBack && !isOfMesh {
			b.commands = strings.ReplaceAll(b.commands, createdGateway.service, routingGateway.service)
			runBlock(r.t, r.kubectl, b)
		}
	}
}

// switchAnalytics runs commands that change the analytics of app 1.0; meanwhile it may call either release.
func (r *routing) switchAnalytics(b block, to string) {
	r.t.Helper()
	r.analytics = "voting-analytics-1-"
	runBlock(r.t, r.kubectl, b)
	r.analytics = to
}

// backAndForth takes the way back of a step on a copy of the cluster.
func (r *routing) backAndForth(step string, back func()) {
	r.t.Helper()
	cluster, analytics := r.kubectl.cluster, r.analytics
	r.kubectl.cluster = cluster.clone()
	back()
	r.check(step + ", way back")
	r.kubectl.cluster, r.analytics = cluster, analytics
}

// check holds the cluster against the step's table.
func (r *routing) check(state string) {
	t, c := r.t, r.kubectl.cluster
	t.Helper()
	if err := r.kubectl.changed(state); err != nil {
		t.Error(err)
	}
	assertNoMesh(t, c)
	for _, route := range objectsOf[*gatewayv1.HTTPRoute](c) {
		for _, rule := range route.Spec.Rules {
			for _, backend := range rule.BackendRefs {
				if _, found := c.documents["service/"+string(backend.Name)]; !found {
					t.Errorf("%s: there is no service %s", state, backend.Name)
				}
			}
		}
	}
	m := newMesh(t, c)
	for _, row := range tables[state] {
		if row.from != gatewayName {
			continue // it depends on the mesh
		}
		if got := m.reach(row.request).String(); got != row.want {
			t.Errorf("%s: %s ends at %s, want %s", state, right{request: row.request}.describe(), got, row.want)
		}
	}
	for _, call := range []request{
		{from: app1, service: "voting-storage", port: mysql}, {from: analytics11, service: "voting-storage", port: mysql},
		{from: app2, service: "voting-storage", port: redis}, {from: analytics2, service: "voting-storage", port: redis},
		{from: analytics2, service: "voting-app", port: web}, {from: storage1, service: "voting-app", port: web},
		{from: storage2, service: analytics2, port: web},
	} {
		if !m.has(call.from) {
			continue
		}
		if got := m.reach(call); got[dropped]+got[noEndpoint] != 100 {
			t.Errorf("%s: %s ends at %s", state, right{request: call}.describe(), got)
		}
	}
}

// assertNoMesh: nothing asks for a sidecar, and no kind is one of Istio's.
func assertNoMesh(t *testing.T, c *cluster) {
	t.Helper()
	for key, d := range c.documents {
		group, _, _ := strings.Cut(key, "/")
		if strings.HasSuffix(group, ".istio.io") {
			t.Errorf("%s is Istio's", key)
		}
		for _, label := range []string{`"istio-injection"`, `"sidecar.istio.io/inject"`, `"istio.io/rev"`, `"istio.io/dataplane-mode"`} {
			if strings.Contains(d.text, label) {
				t.Errorf("%s has %s", key, label)
			}
		}
	}
}

// servedWithoutMesh checks that browsers reach the app, and each program what its settings name: its release's analytics and store.
func servedWithoutMesh(t *testing.T, c *cluster, analytics, what string) error {
	if _, found := c.documents[apiTrack.entrance]; !found {
		return nil // there is no traffic yet
	}
	m := newMesh(t, c)
	for _, cookies := range [][]string{nil, {"featureflag=on"}, {"votingcanary=2.0"}} {
		for outcome := range m.reach(request{from: gatewayName, cookies: cookies}) {
			if !strings.HasPrefix(outcome, "voting-app-") {
				return fmt.Errorf("after %q: a browser with %s: %s", what, cookies, outcome)
			}
		}
	}
	for _, pod := range c.pods() {
		for _, call := range settings(pod) {
			want := map[int]string{redis: storage1, mysql: storage2}[call.port]
			switch {
			case call.port == web && call.from == app1:
				want = analytics
			case call.port == web:
				want = analytics2
			case strings.HasPrefix(call.from, transfer) && !m.has(want):
				continue // the job is done
			}
			for outcome := range m.reach(call) {
				if !strings.HasPrefix(outcome, want) {
					return fmt.Errorf("after %q: %s, want %s: %s", what, right{request: call}.describe(), want, outcome)
				}
			}
		}
	}
	return nil
}
