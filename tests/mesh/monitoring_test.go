package mesh

import (
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/relabel"
	"sigs.k8s.io/yaml"
)

// podMonitor is the part of monitoring/podmonitor.yaml that selects the scraped ports; tests/monitoring parses all of it.
type podMonitor struct {
	Spec struct {
		Selector struct {
			MatchExpressions []struct{ Values []string }
		}
		PodMetricsEndpoints []struct {
			Port        string
			Path        string
			Relabelings []struct {
				SourceLabels             model.LabelNames
				Regex                    string
				TargetLabel, Replacement string
			}
		}
	}
}

// TestPrometheusScrapesThroughTheSidecar: the PodMonitor and the annotations lead to the only port that is open to
// monitoring; the port of the program stays closed.
func TestPrometheusScrapesThroughTheSidecar(t *testing.T) {
	var monitor podMonitor
	if err := yaml.Unmarshal([]byte(mustRead(t, "monitoring/podmonitor.yaml")), &monitor); err != nil {
		t.Fatal(err)
	}
	endpoint := monitor.Spec.PodMetricsEndpoints[0]
	var changes []*relabel.Config
	for _, one := range endpoint.Relabelings {
		change := relabel.DefaultRelabelConfig
		change.SourceLabels, change.TargetLabel, change.Replacement = one.SourceLabels, one.TargetLabel, one.Replacement
		change.Regex = relabel.MustNewRegexp(one.Regex)
		change.NameValidationScheme = model.UTF8Validation
		changes = append(changes, &change)
	}
	watched := 0
	for key, pod := range newInjector(t, "components.cni.enabled=true").pods(t, everything(t)) {
		if !slices.Contains(monitor.Spec.Selector.MatchExpressions[0].Values, pod.Labels["app"]) {
			continue
		}
		watched++
		for name, want := range map[string]string{"port": "15020", "path": endpoint.Path, "scrape": "true"} {
			if got := pod.Annotations["prometheus.io/"+name]; got != want {
				t.Errorf("%s: the annotation of the %s is %q, want %q", key, name, got, want)
			}
		}
		var ports []int32
		for _, container := range pod.Spec.Containers {
			for _, port := range container.Ports {
				if port.Name == endpoint.Port {
					ports = append(ports, port.ContainerPort)
				}
			}
		}
		if !slices.Equal(ports, []int32{9090}) {
			t.Errorf("%s: the monitor finds the ports %v", key, ports)
		}
	}
	if watched < 5 {
		t.Errorf("only %d workloads are watched", watched)
	}
	target := labels.NewBuilder(labels.FromStrings(model.AddressLabel, "10.1.2.3:9090"))
	keep := relabel.ProcessBuilder(target, changes...)
	if got := target.Get(model.AddressLabel); !keep || got != "10.1.2.3:15020" {
		t.Errorf("the monitor scrapes %q", got)
	}

	c := everything(t)
	prometheus := outsider("monitoring", "prometheus", nil)
	for _, pod := range c.pods() {
		if pod.Namespace != namespace {
			continue
		}
		if !c.networkAllows(prometheus, pod, 15020) || c.networkAllows(prometheus, pod, 9090) {
			t.Errorf("%s: port 15020 must be open, 9090 closed", pod.Name)
		}
	}
}

// TestTheRolloutsRoutesStandBesideTheTutorials changes from the tutorial's routes to those of the rollout and back, one
// document after the other. What Argo Rollouts does with them is in tests/rollouts.
func TestTheRolloutsRoutesStandBesideTheTutorials(t *testing.T) {
	c := newCluster()
	apply := func(path string) {
		for _, d := range readManifest(t, path) {
			c.apply(d)
			m := newMesh(t, c)
			for _, cookies := range [][]string{nil, {"featureflag=on"}} {
				for name := range m.reach(request{from: gatewayName, cookies: cookies}) {
					if name != app1 {
						t.Errorf("after %s of %s: a browser with %q gets: %s", d.key, path, strings.Join(cookies, ""), name)
					}
				}
			}
		}
	}
	for _, path := range []string{
		"k8s/step-0-create-namespace.yaml", "k8s/step-1-create-voting-app.yaml", "istio/step-1-create-voting-app-gateway.yaml",
		"k8s/step-2-update-voting-analytics-to-1.1.yaml", "istio/step-2-update-and-add-routing-for-all-components.yaml",
		"istio/step-3-add-routing-for-2.0-components.yaml", "k8s/step-3-update-voting-app-with-new-storage.yaml",
		"istio/step-3-way-back-everybody-to-1.0.yaml",
	} {
		for _, d := range readManifest(t, path) {
			c.apply(d)
		}
	}
	c.replicas[app2] = 0
	apply("progressive-delivery/argo-rollouts/routing.yaml")
	apply("istio/step-3-way-back-everybody-to-1.0.yaml")
	c.delete("destinationrule.networking.istio.io/voting-app-rollout")
	apply("istio/step-3-way-back-everybody-to-1.0.yaml")

	// The subsets of both rules for the host exist.
	for _, d := range readManifest(t, "progressive-delivery/argo-rollouts/routing.yaml") {
		c.apply(d)
	}
	m := newMesh(t, c)
	var subsets []string
	for _, cluster := range m.simulationOf(m.pod(gatewayName)).Clusters {
		if parts := strings.Split(cluster.Name, "|"); len(parts) == 4 && strings.HasPrefix(parts[3], "voting-app.") && parts[2] != "" {
			subsets = append(subsets, parts[2])
		}
	}
	slices.Sort(subsets)
	if want := []string{"canary", "stable", "v1-0", "v2-0"}; !slices.Equal(subsets, want) {
		t.Errorf("the gateway has the subsets %s, want %s", subsets, want)
	}
}
