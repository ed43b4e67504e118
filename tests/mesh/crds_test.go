package mesh

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"sigs.k8s.io/yaml"
)

// resourceSchemas are where the modules of other projects keep the schemas of their resources. Only these files are needed, so
// the modules are no dependencies of this one.
var resourceSchemas = map[string]struct{ module, file string }{
	"Certificate":         {"github.com/cert-manager/cert-manager@v1.21.2", "deploy/crds/cert-manager.io_certificates.yaml"},
	"CiliumNetworkPolicy": {"github.com/cilium/cilium@v1.20.2", "pkg/k8s/apis/cilium.io/client/crds/v2/ciliumnetworkpolicies.yaml"},
}

// problemsOf is what an API server with this custom resource definition would object to, unknown fields included.
func problemsOf(t *testing.T, definition []byte, document map[string]any) []string {
	t.Helper()
	var crd apiextensionsv1.CustomResourceDefinition
	if err := yaml.Unmarshal(definition, &crd); err != nil {
		t.Fatal(err)
	}
	version := strings.TrimPrefix(document["apiVersion"].(string), crd.Spec.Group+"/")
	for _, one := range crd.Spec.Versions {
		if one.Name != version {
			continue
		}
		internal := &apiextensions.JSONSchemaProps{}
		if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(one.Schema.OpenAPIV3Schema, internal, nil); err != nil {
			t.Fatal(err)
		}
		structural, err := schema.NewStructural(internal)
		if err != nil {
			t.Fatal(err)
		}
		validator, _, err := validation.NewSchemaValidator(internal)
		if err != nil {
			t.Fatal(err)
		}
		var problems []string
		for _, problem := range validation.ValidateCustomResource(nil, document, validator) {
			problems = append(problems, problem.Error())
		}
		unknown := pruning.PruneWithOptions(document, structural, true, schema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true})
		for _, field := range unknown {
			problems = append(problems, "unknown field "+field)
		}
		return problems
	}
	return []string{"there is no version " + version}
}

func definitionOf(t *testing.T, kind string) []byte {
	t.Helper()
	place := resourceSchemas[kind]
	command := exec.CommandContext(context.Background(), "go", "mod", "download", "-json", place.module)
	command.Dir = t.TempDir() // outside of this module
	output, err := command.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", place.module, err, output)
	}
	var module struct{ Dir string }
	if err := json.Unmarshal(output, &module); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(filepath.Join(module.Dir, place.file))
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// TestTheSchemasOfOthersKnowEveryField: documents for software that this package can't run are valid by its own schema, and with
// a misspelt field they are not.
func TestTheSchemasOfOthersKnowEveryField(t *testing.T) {
	for path, kind := range map[string]string{
		"k8s/cilium/allow-dns-on-the-node.yaml":      "CiliumNetworkPolicy",
		"k8s/https/certificate-by-cert-manager.yaml": "Certificate",
	} {
		definition := definitionOf(t, kind)
		read := func() map[string]any {
			var content map[string]any
			if err := yaml.Unmarshal([]byte(mustRead(t, path)), &content); err != nil {
				t.Fatal(err)
			}
			return content
		}
		for _, problem := range problemsOf(t, definition, read()) {
			t.Errorf("%s: %s", path, problem)
		}
		misspelt := 0
		spec := read()["spec"].(map[string]any)
		misspell(spec, func(field string) {
			content := read()
			content["spec"] = deepCopy(t, spec)
			misspelt++
			if len(problemsOf(t, definition, content)) == 0 {
				t.Errorf("%s: the misspelt field %q is accepted", path, field)
			}
		})
		t.Logf("%s: %d misspellings refused", path, misspelt)
	}
}

func deepCopy(t *testing.T, value map[string]any) map[string]any {
	t.Helper()
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	var copied map[string]any
	if err := json.Unmarshal(text, &copied); err != nil {
		t.Fatal(err)
	}
	return copied
}
