// Package rollouts tests the files in progressive-delivery/argo-rollouts with the code of Argo Rollouts: its types and its validation read them, its
// Istio reconciler changes the routes, and its provider for Prometheus evaluates the answers to the queries.
package rollouts

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	"github.com/argoproj/argo-rollouts/pkg/apis/rollouts/validation"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

const root = "../.."

// documents are the YAML documents of a file of this repository.
func documents(t *testing.T, path string) [][]byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Split(content, []byte("\n---\n"))
}

// strictly parses a document; an unknown field fails the test.
func strictly[T any](t *testing.T, document []byte) *T {
	t.Helper()
	parsed := new(T)
	if err := yaml.UnmarshalStrict(document, parsed); err != nil {
		t.Fatal(err)
	}
	return parsed
}

// find is the document of this kind and name in a file.
func find[T any](t *testing.T, path, kind, name string) *T {
	t.Helper()
	for _, document := range documents(t, path) {
		var head unstructured.Unstructured
		if err := yaml.Unmarshal(document, &head.Object); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if head.GetKind() == kind && head.GetName() == name {
			return strictly[T](t, document)
		}
	}
	t.Fatalf("%s has no %s %s", path, kind, name)
	return nil
}

// releases are the tutorial's Deployments of voting-app, by release.
func releases(t *testing.T) map[string]*appsv1.Deployment {
	return map[string]*appsv1.Deployment{
		"1.0": find[appsv1.Deployment](t, "k8s/step-1-create-voting-app.yaml", "Deployment", "voting-app-1-0"),
		"2.0": find[appsv1.Deployment](t, "k8s/step-3-update-voting-app-with-new-storage.yaml", "Deployment", "voting-app-2-0"),
	}
}

// theRollout is the Rollout with the pods of a release, as the controller has it after it has looked up its workloadRef.
func theRollout(t *testing.T, release string) *v1alpha1.Rollout {
	t.Helper()
	rollout := find[v1alpha1.Rollout](t, "progressive-delivery/argo-rollouts/rollout.yaml", "Rollout", "voting-app")
	rollout.Namespace = "voting"
	rollout.Spec.WorkloadRef.Name = releases(t)[release].Name
	rollout.Spec.SetResolvedTemplate(releases(t)[release].Spec.Template)
	return rollout
}

func templates(t *testing.T, names []v1alpha1.AnalysisTemplateRef) []*v1alpha1.AnalysisTemplate {
	t.Helper()
	var all []*v1alpha1.AnalysisTemplate
	for _, name := range names {
		all = append(all, find[v1alpha1.AnalysisTemplate](t, "progressive-delivery/argo-rollouts/analysis.yaml", "AnalysisTemplate", name.TemplateName))
	}
	return all
}

// problems are the findings of Argo Rollouts' own validation in a Rollout and in the objects that it references.
func problems(t *testing.T, rollout *v1alpha1.Rollout) []string {
	t.Helper()
	canary := rollout.Spec.Strategy.Canary
	referenced := validation.ReferencedResources{
		VirtualServices: []unstructured.Unstructured{*routing(t, "VirtualService", "voting-app")},
		AnalysisTemplatesWithType: []validation.AnalysisTemplatesWithType{{
			AnalysisTemplates: templates(t, canary.Analysis.Templates),
			TemplateType:      validation.BackgroundAnalysis,
			Args:              canary.Analysis.Args,
		}},
	}
	for i, step := range canary.Steps {
		if step.Analysis != nil {
			referenced.AnalysisTemplatesWithType = append(referenced.AnalysisTemplatesWithType,
				validation.AnalysisTemplatesWithType{
					AnalysisTemplates: templates(t, step.Analysis.Templates),
					TemplateType:      validation.InlineAnalysis,
					CanaryStepIndex:   i,
					Args:              step.Analysis.Args,
				})
		}
	}
	var found []string
	for _, err := range append(validation.ValidateRollout(rollout), validation.ValidateRolloutReferencedResources(rollout, referenced)...) {
		found = append(found, err.Error())
	}
	return found
}

func TestTheRolloutIsValidForThePodsOfBothReleases(t *testing.T) {
	for release := range releases(t) {
		for _, problem := range problems(t, theRollout(t, release)) {
			t.Errorf("%s: %s", release, problem)
		}
	}
}

func TestAMistakeInTheRolloutIsFound(t *testing.T) {
	for mistake, change := range map[string]func(*v1alpha1.Rollout){
		"a route that does not exist": func(r *v1alpha1.Rollout) {
			r.Spec.Strategy.Canary.TrafficRouting.Istio.VirtualService.Routes[0] = "defaults"
		},
		"a subset that does not exist": func(r *v1alpha1.Rollout) {
			r.Spec.Strategy.Canary.TrafficRouting.Istio.DestinationRule.CanarySubsetName = "canaries"
		},
		"a flag route that is not managed": func(r *v1alpha1.Rollout) {
			r.Spec.Strategy.Canary.TrafficRouting.ManagedRoutes = nil
		},
		"an argument that is missing": func(r *v1alpha1.Rollout) { r.Spec.Strategy.Canary.Analysis.Args = nil },
		"a selector of one release only": func(r *v1alpha1.Rollout) {
			r.Spec.Selector.MatchLabels["version"] = "1.0"
		},
		"a weight over 100": func(r *v1alpha1.Rollout) {
			weight := int32(101)
			r.Spec.Strategy.Canary.Steps[0].SetWeight, r.Spec.Strategy.Canary.Steps[0].SetCanaryScale = &weight, nil
		},
	} {
		rollout := theRollout(t, "2.0")
		change(rollout)
		if len(problems(t, rollout)) == 0 {
			t.Errorf("%s is accepted", mistake)
		}
	}
}

func TestEveryDocumentIsKnownFieldByField(t *testing.T) {
	paths, err := filepath.Glob(filepath.Join(root, "progressive-delivery/argo-rollouts/*.yaml"))
	if err != nil || len(paths) != 3 {
		t.Fatalf("%s %v", paths, err)
	}
	for _, path := range paths {
		path = strings.TrimPrefix(path, root+"/")
		for _, document := range documents(t, path) {
			kind := string(regexp.MustCompile(`(?m)^kind: (.*)$`).FindSubmatch(document)[1])
			switch kind {
			case "Rollout":
				strictly[v1alpha1.Rollout](t, document)
			case "AnalysisTemplate":
				strictly[v1alpha1.AnalysisTemplate](t, document)
			case "HorizontalPodAutoscaler":
				strictly[autoscalingv2.HorizontalPodAutoscaler](t, document)
			case "DestinationRule", "VirtualService": // parsed by Istio itself in tests/mesh
			default:
				t.Errorf("%s: what is a %s?", path, kind)
			}
		}
	}
}

// TestTheFlagIsTheTutorials: the same browsers see the new release with the routes of both.
func TestTheFlagIsTheTutorials(t *testing.T) {
	flag := func(path string) string {
		content, err := os.ReadFile(filepath.Join(root, path))
		if err != nil {
			t.Fatal(err)
		}
		found := regexp.MustCompile(`regex: ('.*featureflag.*')`).FindSubmatch(content)
		if found == nil {
			t.Fatalf("%s has no flag", path)
		}
		return string(found[1])
	}
	if ours, tutorials := flag("progressive-delivery/argo-rollouts/rollout.yaml"), flag("istio/step-3-add-routing-for-2.0-components.yaml"); ours != tutorials {
		t.Errorf("%s, but the tutorial has %s", ours, tutorials)
	}
}
