package mesh

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// redirect is the file that HTTPS needs beside the rendered ones.
const redirect = "gateway-api/https/redirect.yaml"

// kustomize renders a folder as `kubectl kustomize --load-restrictor LoadRestrictionsNone` does.
func kustomize(folder string) ([]byte, error) {
	options := krusty.MakeDefaultOptions()
	options.LoadRestrictions = types.LoadRestrictionsNone
	rendered, err := krusty.MakeKustomizer(options).Run(filesys.MakeFsOnDisk(), folder)
	if err != nil {
		return nil, err
	}
	return rendered.AsYaml()
}

// actAsKustomize runs when the tutorial's commands call the test program as `kubectl kustomize`.
func actAsKustomize() int {
	want := []string{"kustomize", "--load-restrictor", "LoadRestrictionsNone"}
	if len(os.Args) != 5 || !slices.Equal(os.Args[1:4], want) {
		fmt.Fprintf(os.Stderr, "not kubectl %s FOLDER: %s\n", want, os.Args[1:])
		return 1
	}
	rendered, err := kustomize(os.Args[4])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	_, _ = os.Stdout.Write(rendered)
	return 0
}

// kustomizeSteps are the files that have a folder in kustomize/steps: those that some cluster needs differently.
func kustomizeSteps(t *testing.T) []string {
	t.Helper()
	var steps []string
	err := fs.WalkDir(os.DirFS(filepath.Join(root, "kustomize/steps")), ".", func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Name() == "kustomization.yaml" {
			steps = append(steps, filepath.Dir(path)+".yaml")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return steps
}

// renderWith renders the steps with this content of kustomize/cluster, and returns the documents of each file.
func renderWith(t *testing.T, cluster string) map[string][]document {
	t.Helper()
	copied := t.TempDir()
	for _, folder := range []string{"k8s", "istio", "gateway-api", "kustomize"} {
		if err := os.CopyFS(filepath.Join(copied, folder), os.DirFS(filepath.Join(root, folder))); err != nil {
			t.Fatal(err)
		}
	}
	if cluster != "" {
		text := "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\n" + cluster
		if err := os.WriteFile(filepath.Join(copied, "kustomize/cluster/kustomization.yaml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	rendered := map[string][]document{}
	for _, step := range kustomizeSteps(t) {
		content, err := kustomize(filepath.Join(copied, "kustomize/steps", strings.TrimSuffix(step, ".yaml")))
		if err != nil {
			t.Fatalf("%s: %v", step, err)
		}
		documents, err := parseManifest(content)
		if err != nil {
			t.Fatalf("%s: %v", step, err)
		}
		rendered[step] = documents
	}
	return rendered
}

// compare holds rendered files against the plain ones, after an intended change of each document. A change that empties a document
// removes it.
func compare(t *testing.T, what string, rendered map[string][]document, change func(key string, content map[string]any) bool) {
	t.Helper()
	changed := 0
	for step, documents := range rendered {
		var want, got []string
		for _, d := range readManifest(t, step) {
			var content map[string]any
			if err := yaml.Unmarshal([]byte(d.text), &content); err != nil {
				t.Fatal(err)
			}
			if change(d.key, content) {
				changed++
			}
			if len(content) == 0 {
				continue
			}
			text, err := yaml.Marshal(content)
			if err != nil {
				t.Fatal(err)
			}
			want = append(want, string(text))
		}
		for _, d := range documents {
			text, err := yaml.JSONToYAML([]byte(d.text))
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, string(text))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s, %s: it renders\n%s\nbut should\n%s", what, step, strings.Join(got, "---\n"), strings.Join(want, "---\n"))
		}
	}
	if what != "nothing" && changed == 0 {
		t.Errorf("%s changes nothing", what)
	}
	t.Logf("%s: %d documents differ, as intended", what, changed)
}

func unchanged(string, map[string]any) bool { return false }

// at is the object at a path of fields.
func at(content map[string]any, path ...string) map[string]any {
	for _, field := range path {
		if field == "0" {
			continue
		}
		if list, isList := content[field].([]any); isList {
			content = list[0].(map[string]any)
		} else {
			content = content[field].(map[string]any)
		}
	}
	return content
}

func container(content map[string]any) map[string]any {
	return at(content, "spec", "template", "spec", "containers")
}

func isWorkload(key string) bool {
	return strings.HasPrefix(key, "deployment.") || strings.HasPrefix(key, "job.")
}

// secureCookies makes the cookies that routes set Secure.
func secureCookies(routes []any) bool {
	changed := false
	for _, route := range routes {
		for _, destination := range route.(map[string]any)["route"].([]any) {
			if destination.(map[string]any)["headers"] != nil {
				set := at(destination.(map[string]any), "headers", "response", "add")
				set["set-cookie"] = set["set-cookie"].(string) + "; Secure"
				changed = true
			}
		}
	}
	return changed
}

// secureFilters is the same for the routes of the Gateway API.
func secureFilters(rules []any) {
	for _, rule := range rules {
		for _, backend := range rule.(map[string]any)["backendRefs"].([]any) {
			if backend.(map[string]any)["filters"] != nil {
				set := at(backend.(map[string]any), "filters", "responseHeaderModifier", "add")
				set["value"] = set["value"].(string) + "; Secure"
			}
		}
	}
}

// admit replaces the pods that a NetworkPolicy admits: of the app and its analytics in these releases, and the job.
func admit(content map[string]any, releases ...any) {
	within := func(key string, values ...any) any {
		return map[string]any{"key": key, "operator": "In", "values": values}
	}
	at(content, "spec", "ingress")["from"] = []any{
		map[string]any{"podSelector": map[string]any{"matchExpressions": []any{
			within("app", "voting-app", "voting-analytics"), within("version", releases...),
		}}},
		map[string]any{"podSelector": map[string]any{"matchLabels": map[string]any{"app": "voting-storage-transfer"}}},
	}
}

// components hold, for each component of kustomize/, its intended difference from the plain files.
var components = map[string]func(key string, content map[string]any) bool{
	"aks-add-on": func(key string, content map[string]any) bool {
		switch {
		case strings.HasPrefix(key, "gateway.networking.istio.io/"):
			at(content, "spec", "selector")["istio"] = "aks-istio-ingressgateway-external"
		case key == "namespace/"+namespace:
			delete(at(content, "metadata", "labels"), "istio-injection")
		default:
			return false
		}
		return true
	},
	"approuting": func(key string, content map[string]any) bool {
		isOfTrack := content["metadata"].(map[string]any)["labels"] != nil && at(content, "metadata", "labels")["track"] == "gateway-api"
		switch {
		case isOfTrack && strings.Contains(key, ".istio.io/"), key == "httproute.gateway.networking.k8s.io/voting-analytics":
			clear(content)
		case strings.HasPrefix(key, "gateway.gateway."):
			at(content, "spec")["gatewayClassName"] = "approuting-istio"
		case key == "namespace/"+namespace:
			delete(at(content, "metadata", "labels"), "istio-injection")
		case key == "service/voting-analytics":
			at(content, "spec", "selector")["version"] = "1.0"
		case key == "deployment.apps/"+app2:
			for _, variable := range container(content)["env"].([]any) {
				if one := variable.(map[string]any); one["name"] == "ANALYTICS_HOST" {
					one["value"] = analytics2
				}
			}
		case key == "networkpolicy.networking.k8s.io/"+storage1:
			admit(content, "1.0", "1.1")
		case key == "networkpolicy.networking.k8s.io/"+storage2:
			admit(content, "2.0")
		default:
			return false
		}
		return true
	},
	"https": func(key string, content map[string]any) bool {
		switch key {
		case "gateway.gateway.networking.k8s.io/voting-app-gateway":
			at(content, "spec")["listeners"] = append(at(content, "spec")["listeners"].([]any), map[string]any{
				"name": "https", "port": 443, "protocol": "HTTPS",
				"allowedRoutes": map[string]any{"namespaces": map[string]any{"from": "Same"}},
				"tls": map[string]any{"mode": "Terminate", "certificateRefs": []any{
					map[string]any{"group": "", "kind": "Secret", "name": "voting-app-tls"},
				}},
			})
			return true
		case "httproute.gateway.networking.k8s.io/voting-app":
			at(content, "spec", "parentRefs")["sectionName"] = "https"
			secureFilters(at(content, "spec")["rules"].([]any))
			return true
		case "networkpolicy.networking.k8s.io/voting-app-gateway":
			ingress := at(content, "spec", "ingress")
			ingress["ports"] = append(ingress["ports"].([]any), map[string]any{"port": 443, "protocol": "TCP"})
			return true
		}
		if strings.HasPrefix(key, "deployment.apps/voting-app-") {
			one := container(content)
			one["env"] = append(one["env"].([]any), map[string]any{"name": "HSTS_MAX_AGE", "value": "86400"})
			return true
		}
		if strings.HasPrefix(key, "virtualservice.") {
			routes, _ := at(content, "spec")["http"].([]any)
			return secureCookies(routes)
		}
		if !strings.HasPrefix(key, "gateway.networking.istio.io/") {
			return false
		}
		servers := at(content, "spec")["servers"].([]any)
		servers[0].(map[string]any)["tls"] = map[string]any{"httpsRedirect": true}
		at(content, "spec")["servers"] = append(servers, map[string]any{
			"port":  map[string]any{"number": 443, "name": "https", "protocol": "HTTPS"},
			"tls":   map[string]any{"mode": "SIMPLE", "credentialName": "voting-app-tls", "minProtocolVersion": "TLSV1_2"},
			"hosts": []any{"*"},
		})
		return true
	},
	"storage-class": func(key string, content map[string]any) bool {
		if !strings.HasPrefix(key, "persistentvolumeclaim/") {
			return false
		}
		at(content, "spec")["storageClassName"] = "managed-csi-premium"
		return true
	},
	"ipv6": func(key string, content map[string]any) bool {
		switch {
		case strings.HasPrefix(key, "service/"):
			at(content, "spec")["ipFamilyPolicy"] = "PreferDualStack"
		case strings.HasPrefix(key, "deployment.apps/voting-app-"), strings.HasPrefix(key, "deployment.apps/voting-analytics-"):
			one := container(content)
			one["env"] = append(one["env"].([]any), map[string]any{"name": "LISTEN_ADDRESS", "value": "::"})
		default:
			return false
		}
		return true
	},
	"rehearsal": func(key string, content map[string]any) bool {
		if !isWorkload(key) {
			return false
		}
		annotations := at(content, "spec", "template", "metadata", "annotations")
		annotations["sidecar.istio.io/proxyCPU"], annotations["sidecar.istio.io/proxyMemory"] = "10m", "40Mi"
		at(container(content), "resources", "requests")["cpu"] = "10m"
		return true
	},
}

// TestEachComponentMakesItsDifferenceAndNoOther: without components the rendered files are the plain ones.
func TestEachComponentMakesItsDifferenceAndNoOther(t *testing.T) {
	compare(t, "nothing", renderWith(t, ""), unchanged)
	for name, change := range components {
		compare(t, name, renderWith(t, fmt.Sprintf("components: [../%s]\n", name)), change)
	}
	entries, err := os.ReadDir(filepath.Join(root, "kustomize"))
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		_, known := components[entry.Name()]
		if !known && !slices.Contains([]string{"steps", "cluster", "azure-monitor"}, entry.Name()) {
			t.Errorf("kustomize/%s is not tested", entry.Name())
		}
	}
	// Files without a folder must not be affected by any component.
	steps := kustomizeSteps(t)
	for _, path := range manifests(t) {
		if slices.Contains(steps, path) {
			continue
		}
		for _, d := range readManifest(t, path) {
			for name, change := range components {
				var content map[string]any
				if err := yaml.Unmarshal([]byte(d.text), &content); err != nil {
					t.Fatal(err)
				}
				if change(d.key, content) {
					t.Errorf("kustomize/steps has no folder for %s, but %s is for its %s", path, name, d.key)
				}
			}
		}
	}
}

// TestTheTutorialsCommandsRenderTheManifests runs the commands of the tutorial on a copy of the files, twice, and compares what
// they leave in my-cluster.
func TestTheTutorialsCommandsRenderTheManifests(t *testing.T) {
	copied, bin := t.TempDir(), t.TempDir()
	for _, folder := range []string{"k8s", "istio", "gateway-api", "kustomize"} {
		if err := os.CopyFS(filepath.Join(copied, folder), os.DirFS(filepath.Join(root, folder))); err != nil {
			t.Fatal(err)
		}
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	script := fmt.Sprintf("#!/bin/sh\nACT_AS_KUSTOMIZE=1 exec %s \"$@\"\n", self)
	if err := os.WriteFile(filepath.Join(bin, "kubectl"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	var commands []string
	for _, b := range tutorial(t) {
		if b.subsection == "Manifests for your cluster" {
			commands = append(commands, b.commands)
		}
	}
	for range 2 {
		command := exec.Command("bash", "-euc", strings.Join(commands, "\n"))
		command.Dir = copied
		command.Env = append(os.Environ(), "REGISTRY=registry.example/poll", "PATH="+bin+":"+os.Getenv("PATH"))
		if output, err := command.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, output)
		}
	}
	rendered := map[string][]document{}
	for _, path := range manifests(t) {
		content, err := os.ReadFile(filepath.Join(copied, "my-cluster", path))
		if err != nil {
			t.Fatal(err)
		}
		if rendered[path], err = parseManifest(content); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
	}
	compare(t, "the registry", rendered, func(key string, content map[string]any) bool {
		if !isWorkload(key) {
			return false
		}
		image := container(content)["image"].(string)
		if strings.HasPrefix(image, "voting-") {
			container(content)["image"] = "registry.example/poll/" + image
		}
		return true
	})
}

// TestAzureMonitorGetsTheSamePodMonitor: in its own API group, with limits, and otherwise the same.
func TestAzureMonitorGetsTheSamePodMonitor(t *testing.T) {
	rendered, err := kustomize(filepath.Join(root, "kustomize/azure-monitor"))
	if err != nil {
		t.Fatal(err)
	}
	var got, want map[string]any
	if err := errors.Join(yaml.Unmarshal(rendered, &got), yaml.Unmarshal([]byte(mustRead(t, "monitoring/podmonitor.yaml")), &want)); err != nil {
		t.Fatal(err)
	}
	if got["apiVersion"] != "azmonitoring.coreos.com/v1" {
		t.Errorf("it is for %s", got["apiVersion"])
	}
	for limit, value := range map[string]float64{"labelLimit": 63, "labelNameLengthLimit": 511, "labelValueLengthLimit": 1023} {
		if at(got, "spec")[limit] != value {
			t.Errorf("the limit %s is %v, want %v", limit, at(got, "spec")[limit], value)
		}
		delete(at(got, "spec"), limit)
	}
	got["apiVersion"] = want["apiVersion"]
	if !reflect.DeepEqual(got, want) {
		t.Errorf("it renders\n%v\nbut should\n%v", got, want)
	}
}
