package rollouts

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	"github.com/argoproj/argo-rollouts/rollout/trafficrouting/istio"
	istioutil "github.com/argoproj/argo-rollouts/utils/istio"
	"github.com/argoproj/argo-rollouts/utils/record"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic/fake"
	"sigs.k8s.io/yaml"
)

// routing is a document of progressive-delivery/argo-rollouts/routing.yaml, as it lies in the cluster.
func routing(t *testing.T, kind, name string) *unstructured.Unstructured {
	t.Helper()
	return asStored(find[unstructured.Unstructured](t, "progressive-delivery/argo-rollouts/routing.yaml", kind, name))
}

// asStored is an object as Argo Rollouts finds it: it asks for another version of Istio's API, which an API server serves for
// the same object.
func asStored(object *unstructured.Unstructured) *unstructured.Unstructured {
	object.SetNamespace("voting")
	object.SetAPIVersion(istioutil.GetIstioVirtualServiceGVR().GroupVersion().String())
	return object
}

// hashes are the labels that the controller would give to the pods of each release.
var hashes = map[string]string{"1.0": "5d5d5d", "2.0": "77f77f"}

// cluster holds the objects that Argo Rollouts changes, and its reconciler.
type cluster struct {
	t          *testing.T
	client     *fake.FakeDynamicClient
	rollout    *v1alpha1.Rollout
	reconciler *istio.Reconciler
}

func newCluster(t *testing.T, rollout *v1alpha1.Rollout, objects ...runtime.Object) *cluster {
	client := fake.NewSimpleDynamicClient(runtime.NewScheme(), objects...)
	reconciler := istio.NewReconciler(rollout, client, record.NewFakeEventRecorder(), nil, nil, nil)
	return &cluster{t, client, rollout, reconciler}
}

// set performs one reconciliation of the controller: the flag's route or its removal, then the subsets' hashes, then
// the weights.
func (c *cluster) set(flag *v1alpha1.SetHeaderRoute, canary, stable string, weight int32) {
	c.t.Helper()
	change := c.reconciler.RemoveManagedRoutes
	if flag != nil {
		change = func() error { return c.reconciler.SetHeaderRoute(flag) }
	}
	for _, err := range []error{change(), c.reconciler.UpdateHash(hashes[canary], hashes[stable]), c.reconciler.SetWeight(weight)} {
		if err != nil {
			c.t.Fatal(err)
		}
	}
}

func (c *cluster) get(kind, name string) map[string]any {
	c.t.Helper()
	resource := istioutil.GetIstioVirtualServiceGVR()
	if kind == "DestinationRule" {
		resource = istioutil.GetIstioDestinationRuleGVR()
	}
	object, err := c.client.Resource(resource).Namespace("voting").Get(context.Background(), name, metav1.GetOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	return object.Object["spec"].(map[string]any)
}

// goes returns the releases that serve a browser with this cookie, and their share of its requests: the first route that
// matches, its destinations by weight, and the pods that the labels of a destination's subset select.
func (c *cluster) goes(cookie string) map[string]int64 {
	c.t.Helper()
	rule := c.rollout.Spec.Strategy.Canary.TrafficRouting.Istio.DestinationRule.Name
	subsets := map[string]labels.Selector{}
	for _, one := range c.get("DestinationRule", rule)["subsets"].([]any) {
		subset := one.(map[string]any)
		selector := labels.Set{}
		set, _, _ := unstructured.NestedStringMap(subset, "labels")
		for name, value := range set {
			selector[name] = value
		}
		subsets[subset["name"].(string)] = selector.AsSelector()
	}
	result := map[string]int64{}
	for _, one := range c.get("VirtualService", "voting-app")["http"].([]any) {
		route := one.(map[string]any)
		if matches, found := route["match"].([]any); found && !matchesCookie(c.t, matches, cookie) {
			continue
		}
		for _, one := range route["route"].([]any) {
			destination := one.(map[string]any)
			weight := number(c.t, destination["weight"])
			if weight == 0 {
				continue
			}
			name, _, _ := unstructured.NestedString(destination, "destination", "subset")
			port, _, _ := unstructured.NestedFieldNoCopy(destination, "destination", "port", "number")
			if number(c.t, port) != 8080 {
				c.t.Errorf("the route %v has the port %v", route["name"], port)
			}
			pods := 0
			for release, deployment := range releases(c.t) {
				set := labels.Merge(deployment.Spec.Template.Labels, labels.Set{v1alpha1.DefaultRolloutUniqueLabelKey: hashes[release]})
				if subsets[name].Matches(set) {
					result[release] += weight
					pods++
				}
			}
			if pods != 1 {
				result[fmt.Sprintf("%d releases in the subset %s", pods, name)] += weight
			}
		}
		return result
	}
	return result
}

func matchesCookie(t *testing.T, matches []any, cookie string) bool {
	for _, match := range matches {
		regex, found, _ := unstructured.NestedString(match.(map[string]any), "headers", "cookie", "regex")
		if !found {
			t.Fatalf("a match of something else than a cookie: %v", match)
		}
		if cookie != "" && regexp.MustCompile("^(?:"+regex+")$").MatchString(cookie) {
			return true
		}
	}
	return false
}

func number(t *testing.T, value any) int64 {
	switch value := value.(type) {
	case int64:
		return value
	case float64:
		return int64(value)
	}
	t.Fatalf("%v (%T) is no number", value, value)
	return 0
}

func (c *cluster) expect(stage, plain, flagged string) {
	c.t.Helper()
	for cookie, want := range map[string]string{
		"": plain, "featureflag=off": plain, "notfeatureflag=on": plain, "featureflag=on": flagged, "a=b; featureflag=on": flagged,
	} {
		if got := c.goes(cookie); len(got) != 1 || got[want] != 100 {
			c.t.Errorf("%s: a browser with %q gets to %v, want %s", stage, cookie, got, want)
		}
	}
}

// headerRoutes are the steps that set or remove this route.
func headerRoutes(t *testing.T, rollout *v1alpha1.Rollout, name string) []*v1alpha1.SetHeaderRoute {
	t.Helper()
	var found []*v1alpha1.SetHeaderRoute
	for _, step := range rollout.Spec.Strategy.Canary.Steps {
		if step.SetHeaderRoute != nil && step.SetHeaderRoute.Name == name {
			found = append(found, step.SetHeaderRoute)
		}
	}
	if len(found) == 0 {
		t.Fatalf("no step sets the route %s", name)
	}
	return found
}

// flagStep is the step that sends the browsers with the flag to the canary.
func flagStep(t *testing.T, rollout *v1alpha1.Rollout) *v1alpha1.SetHeaderRoute {
	t.Helper()
	return headerRoutes(t, rollout, "flag")[0]
}

// TestEachStepSendsEachBrowserToOneRelease runs the reconciler through a canary, its way back, and its end.
func TestEachStepSendsEachBrowserToOneRelease(t *testing.T) {
	rollout := theRollout(t, "2.0")
	c := newCluster(t, rollout, routing(t, "VirtualService", "voting-app"), routing(t, "DestinationRule", "voting-app-rollout"))
	flag := flagStep(t, rollout)

	c.set(nil, "1.0", "1.0", 0)
	c.expect("the release that was taken over", "1.0", "1.0")
	c.set(nil, "2.0", "1.0", 0)
	c.expect("before the account", "1.0", "1.0")
	account := headerRoutes(t, rollout, "account")
	if len(account) != 2 {
		t.Fatalf("%d steps for the account, want one that sets the route and one that removes it", len(account))
	}
	c.set(account[0], "2.0", "1.0", 0)
	c.expect("the account", "1.0", "1.0")
	if got := c.goes("a=b; votingaccount=on"); got["2.0"] != 100 {
		t.Errorf("the account's voters get to %v", got)
	}
	c.set(account[1], "2.0", "1.0", 0)
	c.expect("before the flag", "1.0", "1.0")
	if got := c.goes("votingaccount=on"); got["1.0"] != 100 {
		t.Errorf("after the account its voters get to %v", got)
	}
	c.set(flag, "2.0", "1.0", 0)
	c.expect("the flag", "1.0", "2.0")
	c.set(nil, "2.0", "1.0", 0)
	c.expect("aborted", "1.0", "1.0")
	c.set(flag, "2.0", "1.0", 0)
	c.expect("tried again", "1.0", "2.0")
	c.set(flag, "2.0", "1.0", 100)
	c.expect("everybody", "2.0", "2.0")
	c.set(nil, "2.0", "2.0", 0)
	c.expect("promoted", "2.0", "2.0")
	c.set(nil, "1.0", "2.0", 0)
	c.expect("back to 1.0, before its first step", "2.0", "2.0")

	route := c.get("VirtualService", "voting-app")["http"].([]any)[0].(map[string]any)
	if route["retries"] == nil {
		t.Error("the route's own settings are lost")
	}
}

// TestTheTutorialsSubsetsWouldEndInNothing is why the rollout has subsets of its own: those of the tutorial keep their label
// of a version, so that after a promotion no pod fits the stable one; and Argo Rollouts drops every subset it does not know.
func TestTheTutorialsSubsetsWouldEndInNothing(t *testing.T) {
	rollout := theRollout(t, "2.0")
	rollout.Spec.Strategy.Canary.TrafficRouting.Istio.DestinationRule = &v1alpha1.IstioDestinationRule{
		Name: "voting-app", StableSubsetName: "v1-0", CanarySubsetName: "v2-0",
	}
	rule := asStored(find[unstructured.Unstructured](t, "istio/step-3-add-routing-for-2.0-components.yaml", "DestinationRule", "voting-app"))
	content, err := os.ReadFile(filepath.Join(root, "progressive-delivery/argo-rollouts/routing.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	content = regexp.MustCompile(`subset: stable`).ReplaceAll(content, []byte("subset: v1-0"))
	content = regexp.MustCompile(`subset: canary`).ReplaceAll(content, []byte("subset: v2-0"))
	var service unstructured.Unstructured
	if err := yaml.Unmarshal(regexp.MustCompile(`(?s)^.*\n---\n`).ReplaceAll(content, nil), &service.Object); err != nil {
		t.Fatal(err)
	}
	c := newCluster(t, rollout, asStored(&service), rule)
	c.set(flagStep(t, rollout), "2.0", "1.0", 0)
	c.expect("the flag", "1.0", "2.0")
	c.set(nil, "2.0", "2.0", 0)
	c.expect("promoted", "0 releases in the subset v1-0", "0 releases in the subset v1-0")
}
