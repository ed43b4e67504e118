package mesh

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/yaml"
)

// kubectl replaces the program of that name as far as the tutorial uses it: it changes the cluster and prints the output of
// kubectl. Unknown commands and options are errors, so that every command of the tutorial is tested.
type kubectl struct {
	*cluster
	// rendered are files that take the place of the plain ones.
	rendered map[string][]document
	// changed is called for every single change, in the order of an API server.
	changed func(what string) error
	// runJob runs a job. Nil: jobs have no programs.
	runJob func(job *batchv1.Job) error
	// ingress is the address of the gateway.
	ingress string
	// done are the jobs that have run: one that is applied again does not run again.
	done map[string]bool
}

type arguments struct {
	words    []string
	flags    map[string]string
	selector labels.Selector
}

// switches take no value.
var switches = []string{"--all", "--ignore-not-found"}

func parseArguments(args []string) (arguments, error) {
	parsed := arguments{flags: map[string]string{}, selector: labels.Everything()}
	for i := 0; i < len(args); i++ {
		name, value, hasValue := strings.Cut(args[i], "=")
		switch {
		case !strings.HasPrefix(name, "-"):
			parsed.words = append(parsed.words, args[i])
			continue
		case slices.Contains(switches, name):
			value = "true"
		case !hasValue:
			if i++; i == len(args) {
				return parsed, fmt.Errorf("%s has no value", name)
			}
			value = args[i]
		}
		parsed.flags[name] = value
	}
	var err error
	if text, found := parsed.flags["--selector"]; found {
		parsed.selector, err = labels.Parse(text)
	}
	return parsed, err
}

// run does one command and returns what it prints.
func (k *kubectl) run(args []string, stdin io.Reader) (string, error) {
	parsed, err := parseArguments(args)
	if err != nil || len(parsed.words) == 0 {
		return "", fmt.Errorf("kubectl %s: %w", args, err)
	}
	verb := parsed.words[0]
	parsed.words = parsed.words[1:]
	inNamespace := parsed.flags["--namespace"] == namespace
	switch {
	case verb == "get" && len(parsed.words) == 2 && (parsed.words[0] == "service" || parsed.words[0] == "gateway.gateway.networking.k8s.io"):
		return k.ingress, nil
	case verb == "wait" && parsed.flags["--for"] == "jsonpath={.status.loadBalancer.ingress}" && parsed.flags["--namespace"] == k.gateway.namespace:
		return parsed.words[0] + " condition met\n", nil
	case verb == "delete" && slices.Equal(parsed.words, []string{"namespace", namespace}):
		return fmt.Sprintf("namespace %q deleted\n", namespace), nil
	case verb == "apply" && (inNamespace || strings.HasSuffix(parsed.flags["-f"], "step-0-create-namespace.yaml")):
		return k.runApply(parsed)
	case !inNamespace:
		return "", fmt.Errorf("kubectl %s: it is not for the namespace %s", args, namespace)
	case verb == "delete":
		return k.runDelete(parsed)
	case verb == "scale":
		return k.runScale(parsed)
	case verb == "patch" && len(parsed.words) == 2 && parsed.words[0] == "secret":
		return k.runPatchSecret(parsed.words[1], stdin)
	case verb == "patch" && len(parsed.words) == 2 && parsed.words[0] == "service":
		return k.runPatchService(parsed.words[1], parsed.flags["--patch"])
	case verb == "wait":
		return k.runWait(parsed)
	case verb == "get":
		return k.runGet(parsed)
	}
	return "", fmt.Errorf("kubectl %s: the stand-in does not know this", args)
}

func (k *kubectl) manifest(path string) ([]document, error) {
	if documents, found := k.rendered[path]; found {
		if len(documents) == 0 {
			return nil, fmt.Errorf("%s: no objects", path)
		}
		return documents, nil
	}
	content, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		return nil, err
	}
	return parseManifest(content)
}

func (k *kubectl) runApply(a arguments) (string, error) {
	documents, err := k.manifest(a.flags["-f"])
	if err != nil {
		return "", err
	}
	var printed strings.Builder
	for _, d := range documents {
		if !a.selector.Matches(labels.Set(d.labels)) {
			continue
		}
		line := k.apply(d)
		if err := k.changed(line); err != nil {
			return "", err
		}
		fmt.Fprintln(&printed, line)
	}
	return printed.String(), nil
}

// groups names the API group of each kind that the tutorial deletes by kind.
var groups = map[string]string{
	"deployment":              "apps",
	"job":                     "batch",
	"horizontalpodautoscaler": "autoscaling",
	"networkpolicy":           "networking.k8s.io",
	"serviceaccount":          "",
	"persistentvolumeclaim":   "",
	"virtualservice":          "networking.istio.io",
	"destinationrule":         "networking.istio.io",
	"authorizationpolicy":     "security.istio.io",
	"peerauthentication":      "security.istio.io",
	"httproute":               "gateway.networking.k8s.io",
	"service":                 "",
	"configmap":               "",
}

func (k *kubectl) runDelete(a arguments) (string, error) {
	var keys []string
	if file, found := a.flags["-f"]; found {
		documents, err := k.manifest(file)
		if err != nil {
			return "", err
		}
		for _, d := range documents {
			keys = append(keys, d.key)
		}
	} else {
		for _, kind := range strings.Split(a.words[0], ",") {
			kind, group, known := strings.Cut(kind, ".")
			if !known {
				group, known = groups[kind]
			}
			if !known {
				return "", fmt.Errorf("the stand-in does not know the kind %s", kind)
			}
			if group != "" {
				kind += "." + group
			}
			for _, name := range a.words[1:] {
				keys = append(keys, kind+"/"+name)
			}
			if len(a.words) == 1 && a.flags["--selector"] != "" {
				keys = append(keys, k.selected(kind, a.selector)...)
			}
		}
	}
	var printed strings.Builder
	for _, key := range keys {
		if _, found := k.documents[key]; !found {
			if a.flags["--ignore-not-found"] == "true" {
				continue
			}
			return "", fmt.Errorf("%s is not found", key)
		}
		k.delete(key)
		delete(k.done, key)
		kind, name, _ := strings.Cut(key, "/")
		line := fmt.Sprintf("%s %q deleted from %s namespace", kind, name, namespace)
		if err := k.changed(line); err != nil {
			return "", err
		}
		fmt.Fprintln(&printed, line)
	}
	return printed.String(), nil
}

// selected lists the objects of a kind with these labels.
func (k *kubectl) selected(kind string, selector labels.Selector) []string {
	var keys []string
	for _, key := range k.sortedKeys() {
		if strings.HasPrefix(key, kind+"/") && selector.Matches(labels.Set(k.documents[key].labels)) {
			keys = append(keys, key)
		}
	}
	return keys
}

func (k *kubectl) runScale(a arguments) (string, error) {
	var replicas int32
	if _, err := fmt.Sscan(a.flags["--replicas"], &replicas); err != nil {
		return "", err
	}
	var printed strings.Builder
	for _, word := range a.words {
		name := strings.TrimPrefix(word, "deployment/")
		if _, found := k.documents["deployment.apps/"+name]; !found {
			return "", fmt.Errorf("%s is not found", word)
		}
		k.replicas[name] = replicas
		line := fmt.Sprintf("deployment.apps/%s scaled", name)
		if err := k.changed(line); err != nil {
			return "", err
		}
		fmt.Fprintln(&printed, line)
	}
	return printed.String(), nil
}

func (k *kubectl) runPatchSecret(name string, stdin io.Reader) (string, error) {
	key := "secret/" + name
	d, found := k.documents[key]
	if !found {
		return "", fmt.Errorf("%s is not found", key)
	}
	patch, err := io.ReadAll(stdin)
	if err != nil {
		return "", err
	}
	secret := d.object.(*corev1.Secret).DeepCopy()
	if secret.Immutable != nil && *secret.Immutable {
		return "", fmt.Errorf("%s is immutable", key)
	}
	if err := yaml.UnmarshalStrict(patch, secret); err != nil {
		return "", err
	}
	d.object = secret
	k.documents[key] = d
	return key + " patched\n", k.changed(key + " patched")
}

func (k *kubectl) runPatchService(name, patch string) (string, error) {
	key := "service/" + name
	d, found := k.documents[key]
	if !found {
		return "", fmt.Errorf("%s is not found", key)
	}
	service := d.object.(*corev1.Service).DeepCopy()
	if err := yaml.UnmarshalStrict([]byte(patch), service); err != nil {
		return "", err
	}
	d.object, d.text = service, d.text+patch
	k.documents[key] = d
	return key + " patched\n", k.changed(key + " patched")
}

func (k *kubectl) runWait(a arguments) (string, error) {
	condition, kind := a.flags["--for"], a.words[0]
	switch {
	case condition == "condition=programmed" || kind == "deployment/"+k.gateway.service:
		// The controllers of Gateways and Deployments do this.
		key := strings.Replace(kind, "deployment/", "deployment.apps/", 1)
		return key + " condition met\n", nil
	case condition == "condition=available" && strings.HasPrefix(kind, "deployment"):
		keys := k.selected("deployment.apps", a.selector)
		if name, isOne := strings.CutPrefix(kind, "deployment/"); isOne {
			keys = []string{"deployment.apps/" + name}
		}
		var printed strings.Builder
		for _, key := range keys {
			if err := k.startable(key); err != nil {
				return "", err
			}
			fmt.Fprintf(&printed, "%s condition met\n", key)
		}
		return printed.String(), nil
	case condition == "delete" && kind == "pod":
		for _, pod := range k.pods() {
			if pod.Namespace == namespace && a.selector.Matches(labels.Set(pod.Labels)) {
				return "", fmt.Errorf("pod/%s never goes", pod.Name)
			}
		}
		return "", nil
	case condition == "condition=complete" && strings.HasPrefix(kind, "job/"):
		key := "job.batch/" + strings.TrimPrefix(kind, "job/")
		if err := k.startable(key); err != nil {
			return "", err
		}
		if k.runJob != nil && !k.done[key] {
			if err := k.runJob(k.documents[key].object.(*batchv1.Job)); err != nil {
				return "", err
			}
			k.done[key] = true
		}
		return key + " condition met\n", nil
	}
	return "", fmt.Errorf("the stand-in does not wait for %s of %s", condition, kind)
}

func (k *kubectl) runGet(a arguments) (string, error) {
	var printed strings.Builder
	switch {
	case slices.Equal(a.words, []string{"pod"}) && a.flags["--output"] == "name":
		for _, pod := range k.pods() {
			if pod.Namespace == namespace && a.selector.Matches(labels.Set(pod.Labels)) {
				fmt.Fprintf(&printed, "pod/%s\n", pod.Name)
			}
		}
	case slices.Equal(a.words, []string{"deployments"}) && strings.HasPrefix(a.flags["--output"], "custom-columns=NAME:"):
		fmt.Fprintf(&printed, "%-20s   PODS\n", "NAME")
		for _, deployment := range k.deployments() {
			fmt.Fprintf(&printed, "%-20s   %d\n", deployment.Name, len(k.podsOf(deployment)))
		}
	case slices.Equal(a.words, []string{"httproute"}):
		// The control plane's report is tested on a cluster.
		fmt.Fprintf(&printed, "%-*s   CONDITIONS              STATUS\n", k.widest(), "NAME")
		for _, route := range k.routes() {
			fmt.Fprintf(&printed, "%-*s   Accepted,ResolvedRefs   True,True\n", k.widest(), route.Name)
		}
	default:
		return "", fmt.Errorf("the stand-in does not get %s as %s", a.words, a.flags["--output"])
	}
	return printed.String(), nil
}

// widest is the length of the longest name of a route.
func (k *kubectl) widest() int {
	length := 0
	for _, route := range k.routes() {
		length = max(length, len(route.Name))
	}
	return length
}
