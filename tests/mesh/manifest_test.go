// Package mesh tests the manifests with Istio itself: its parser and validation read them, its control plane turns them
// into Envoy configuration, and a real Envoy serves the real programs with it.
package mesh

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	yamlstream "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"istio.io/istio/pkg/config"
	"istio.io/istio/pkg/config/schema/collections"
	"istio.io/istio/pkg/config/schema/resource"
	"istio.io/istio/pkg/kube"
)

const namespace = "voting"

// root is the root of the repository, relative to this package.
const root = "../.."

// document is one YAML document, parsed strictly: as a Kubernetes object or as an Istio configuration, never both.
type document struct {
	key    string // as kubectl prints it: deployment.apps/voting-app-1-0
	labels map[string]string
	text   string // canonical, to tell "configured" from "unchanged"
	object runtime.Object
	config *config.Config
}

// readManifest parses every document of a file of this repository, and fails the test on the first bad one.
func readManifest(t *testing.T, path string) []document {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	documents, err := parseManifest(content)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return documents
}

func parseManifest(content []byte) ([]document, error) {
	var documents []document
	reader := yamlstream.NewDocumentDecoder(io.NopCloser(bytes.NewReader(content)))
	defer reader.Close()
	buffer := make([]byte, len(content)+1)
	for {
		n, err := reader.Read(buffer)
		if errors.Is(err, io.EOF) {
			return documents, nil
		}
		if err != nil {
			return nil, err
		}
		one, err := parseDocument(buffer[:n])
		if err != nil {
			return nil, err
		}
		documents = append(documents, one)
	}
}

func parseDocument(text []byte) (document, error) {
	var head struct {
		v1.TypeMeta   `json:",inline"`
		v1.ObjectMeta `json:"metadata"`
		Spec          json.RawMessage `json:"spec"`
	}
	if err := yaml.Unmarshal(text, &head); err != nil {
		return document{}, err
	}
	canonical, err := yaml.YAMLToJSON(text)
	if err != nil {
		return document{}, err
	}
	gvk := head.GroupVersionKind()
	kind := strings.ToLower(gvk.Kind)
	if gvk.Group != "" {
		kind += "." + gvk.Group
	}
	one := document{key: kind + "/" + head.Name, labels: head.Labels, text: string(canonical)}
	if schema, found := collections.Pilot.FindByGroupVersionAliasesKind(resource.FromKubernetesGVK(&gvk)); found {
		one.config, err = parseIstio(schema, head.ObjectMeta, head.Spec, text)
	} else {
		one.object, _, err = strictKubernetes.Decode(canonical, nil, nil)
	}
	if err != nil {
		return document{}, errors.Join(errors.New(one.key), err)
	}
	return one, nil
}

// strictKubernetes rejects unknown and repeated fields, which kubectl's server would only warn about.
var strictKubernetes = serializer.NewCodecFactory(kube.IstioScheme, serializer.EnableStrict).UniversalDeserializer()

func parseIstio(schema resource.Schema, meta v1.ObjectMeta, spec json.RawMessage, text []byte) (*config.Config, error) {
	var outside struct {
		APIVersion string          `json:"apiVersion"`
		Kind       string          `json:"kind"`
		Metadata   v1.ObjectMeta   `json:"metadata"`
		Spec       json.RawMessage `json:"spec"`
	}
	if err := yaml.UnmarshalStrict(text, &outside); err != nil {
		return nil, err
	}
	parsed, err := schema.NewInstance()
	if err != nil {
		return nil, err
	}
	if err := config.ApplyJSONStrict(parsed, string(spec)); err != nil {
		return nil, err
	}
	c := &config.Config{
		Meta: config.Meta{
			GroupVersionKind: schema.GroupVersionKind(),
			Name:             meta.Name,
			Namespace:        namespace,
			Domain:           "cluster.local",
			Labels:           meta.Labels,
			Annotations:      meta.Annotations,
		},
		Spec: parsed,
	}
	warning, err := schema.ValidateConfig(*c)
	if err != nil {
		return nil, err
	}
	if warning != nil {
		return nil, errors.New(warning.Error())
	}
	return c, nil
}
