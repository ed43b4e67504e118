package mesh

import (
	"slices"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"

	"istio.io/istio/operator/pkg/render"
	"istio.io/istio/pkg/config/mesh"
	"istio.io/istio/pkg/kube/inject"
)

// injector is Istio's own, configured as by its installation.
type injector struct {
	templates inject.Templates
	values    inject.ValuesConfig
}

func newInjector(t *testing.T, settings ...string) injector {
	t.Helper()
	settings = append(settings, "profile=empty", "components.pilot.enabled=true")
	sets, _, err := render.GenerateManifest(nil, settings, false, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, set := range sets {
		for _, manifest := range set.Manifests {
			if manifest.GetName() != "istio-sidecar-injector" || manifest.GetKind() != "ConfigMap" {
				continue
			}
			data := manifest.Object["data"].(map[string]any)
			config, err := inject.UnmarshalConfig([]byte(data["config"].(string)))
			if err != nil {
				t.Fatal(err)
			}
			templates, err := inject.ParseTemplates(config.RawTemplates)
			if err != nil {
				t.Fatal(err)
			}
			values, err := inject.NewValuesConfig(data["values"].(string))
			if err != nil {
				t.Fatal(err)
			}
			return injector{templates, values}
		}
	}
	t.Fatal("the installation has no injector")
	return injector{}
}

// pods are the pods of our workloads with an injected sidecar.
func (i injector) pods(t *testing.T, c *cluster) map[string]corev1.PodTemplateSpec {
	t.Helper()
	pods := map[string]corev1.PodTemplateSpec{}
	for _, key := range c.sortedKeys() {
		object := c.documents[key].object
		switch object.(type) {
		case *appsv1.Deployment, *batchv1.Job:
		default:
			continue
		}
		out, err := inject.IntoObject(nil, i.templates, i.values, "", mesh.DefaultMeshConfig(), object, func(warning string) {
			t.Errorf("%s: %s", key, warning)
		})
		if err != nil {
			t.Fatalf("%s: %v", key, err)
		}
		switch workload := out.(type) {
		case *appsv1.Deployment:
			pods[key] = workload.Spec.Template
		case *batchv1.Job:
			pods[key] = workload.Spec.Template
		}
	}
	if len(pods) < 9 {
		t.Fatalf("there are %d workloads only", len(pods))
	}
	return pods
}

// everything is a cluster with every manifest applied.
func everything(t *testing.T) *cluster {
	t.Helper()
	c := newCluster()
	for _, path := range manifests(t) {
		for _, d := range readManifest(t, path) {
			c.apply(d)
		}
	}
	return c
}

func forbidden(t *testing.T, pod corev1.PodTemplateSpec) []string {
	t.Helper()
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range pod.Spec.Volumes {
		// The API server takes a volume that does not say what it is for an empty directory, before it admits the pod.
		if volume := &pod.Spec.Volumes[i]; volume.VolumeSource == (corev1.VolumeSource{}) {
			volume.EmptyDir = &corev1.EmptyDirVolumeSource{}
		}
	}
	restricted := api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}
	var reasons []string
	for _, result := range evaluator.EvaluatePod(restricted, &pod.ObjectMeta, &pod.Spec) {
		if !result.Allowed {
			reasons = append(reasons, result.ForbiddenReason+": "+result.ForbiddenDetail)
		}
	}
	return reasons
}

// TestTheNamespaceAdmitsEveryPod runs Kubernetes' own pod security admission on the pods as Istio's injector leaves them:
// with the CNI plugin, which the tutorial installs, they are restricted; without it they are not.
func TestTheNamespaceAdmitsEveryPod(t *testing.T) {
	c := everything(t)
	labels := c.documents["namespace/"+namespace].labels
	if labels[api.EnforceLevelLabel] != string(api.LevelRestricted) {
		t.Errorf("the namespace does not enforce what its pods keep: %s", labels)
	}
	for key, pod := range newInjector(t, "components.cni.enabled=true").pods(t, c) {
		for _, reason := range forbidden(t, pod) {
			t.Errorf("%s: %s", key, reason)
		}
	}
	for key, pod := range newInjector(t, "components.cni.enabled=false").pods(t, c) {
		if len(forbidden(t, pod)) == 0 {
			t.Errorf("%s: the tutorial says that the CNI plugin is needed, and it is not", key)
		}
	}
}

// TestEverySidecarStartsBeforeAndEndsAfterItsPod: else a pod would start without a network, and a job never end.
func TestEverySidecarStartsBeforeAndEndsAfterItsPod(t *testing.T) {
	for key, pod := range newInjector(t, "components.cni.enabled=true").pods(t, everything(t)) {
		native := slices.ContainsFunc(pod.Spec.InitContainers, func(container corev1.Container) bool {
			return container.Name == "istio-proxy" && container.RestartPolicy != nil &&
				*container.RestartPolicy == corev1.ContainerRestartPolicyAlways
		})
		if !native {
			t.Errorf("%s: its sidecar is not a native one", key)
		}
	}
}
