package mesh

import (
	"archive/zip"
	"context"
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"reflect"
	"strings"
	"testing"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"sigs.k8s.io/yaml"
)

// resourceSchemas are where the modules of other projects keep the schemas of their resources. Only these files are needed, so
// the modules are no dependencies of this one.
var resourceSchemas = map[string]resourceSchema{
	"Certificate":         {"github.com/cert-manager/cert-manager@v1.21.2", "deploy/crds/cert-manager.io_certificates.yaml"},
	"CiliumNetworkPolicy": {"github.com/cilium/cilium@v1.20.2", "pkg/k8s/apis/cilium.io/client/crds/v2/ciliumnetworkpolicies.yaml"},
}

type resourceSchema struct{ module, file string }

// gatewayAPIs are the releases of the Gateway API from the oldest on AKS to the newest.
var gatewayAPIs = []string{"v1.3.0", "v1.4.1", "v1.5.1", "v1.6.3", "v1.7.0"}

// problemsOf is what an API server with this custom resource definition would object to, unknown fields included.
func problemsOf(t *testing.T, definition []byte, document map[string]any) []string {
	t.Helper()
	_, version, _ := strings.Cut(document["apiVersion"].(string), "/")
	internal, structural := schemasOf(t, definition, version)
	document = deepCopy(t, document)
	validator, _, err := validation.NewSchemaValidator(internal)
	if err != nil {
		t.Fatal(err)
	}
	var problems []string
	for _, problem := range validation.ValidateCustomResource(nil, document, validator) {
		problems = append(problems, problem.Error())
	}
	if rules := cel.NewValidator(structural, true, celconfig.PerCallLimit); rules != nil {
		broken, _ := rules.Validate(context.Background(), nil, structural, document, nil, celconfig.RuntimeCELCostBudget)
		for _, problem := range broken {
			problems = append(problems, problem.Error())
		}
	}
	unknown := pruning.PruneWithOptions(document, structural, true, schema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true})
	for _, field := range unknown {
		problems = append(problems, "unknown field "+field)
	}
	return problems
}

// schemasOf are the two forms of a definition's schema for a version.
func schemasOf(t *testing.T, definition []byte, version string) (*apiextensions.JSONSchemaProps, *schema.Structural) {
	t.Helper()
	var crd apiextensionsv1.CustomResourceDefinition
	if err := yaml.Unmarshal(definition, &crd); err != nil {
		t.Fatal(err)
	}
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
		return internal, structural
	}
	t.Fatalf("there is no version %s", version)
	return nil, nil
}

func definitionOf(t *testing.T, place resourceSchema) []byte {
	t.Helper()
	command := exec.CommandContext(context.Background(), "go", "mod", "download", "-json", place.module)
	command.Dir = t.TempDir() // outside of this module
	command.Env = append(os.Environ(), "GOTOOLCHAIN=local")
	// It fails if the module needs a newer release of Go than this one, but has downloaded the archive.
	output, failed := command.Output()
	var module struct{ Zip string }
	if err := json.Unmarshal(output, &module); err != nil || module.Zip == "" {
		t.Fatalf("%s: %v\n%s", place.module, failed, output)
	}
	archive, err := zip.OpenReader(module.Zip)
	if err != nil {
		t.Fatal(err)
	}
	defer archive.Close()
	content, err := fs.ReadFile(archive, place.module+"/"+place.file)
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
		definition := definitionOf(t, resourceSchemas[kind])
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

// TestTheGatewayAPIIsThatOfEveryRelease: the standard channel of each release has all fields that the files use, its rules hold,
// and its default values are those of the files, so that applying a file again changes nothing.
func TestTheGatewayAPIIsThatOfEveryRelease(t *testing.T) {
	all := withHTTPS(t)
	for _, release := range gatewayAPIs {
		for kind, file := range map[string]string{"HTTPRoute": "httproutes", "Gateway": "gateways"} {
			definition := definitionOf(t, resourceSchema{
				"sigs.k8s.io/gateway-api@" + release, "config/crd/standard/gateway.networking.k8s.io_" + file + ".yaml",
			})
			checked := 0
			for path, documents := range all {
				for _, d := range documents {
					var document map[string]any
					if err := yaml.Unmarshal([]byte(d.text), &document); err != nil {
						t.Fatal(err)
					}
					if document["kind"] != kind || document["apiVersion"] != "gateway.networking.k8s.io/v1" {
						continue
					}
					checked++
					withDefaults := deepCopy(t, document)
					for _, problem := range problemsOf(t, definition, document) {
						t.Errorf("%s: %s: %s: %s", release, path, d.key, problem)
					}
					_, structural := schemasOf(t, definition, "v1")
					defaulting.Default(withDefaults, structural)
					if !reflect.DeepEqual(withDefaults["spec"], deepCopy(t, document)["spec"]) {
						t.Errorf("%s: %s: %s has default values that the file does not write out:\n%v", release, path, d.key, withDefaults["spec"])
					}
				}
			}
			if checked == 0 {
				t.Errorf("no %s is checked", kind)
			}
		}
	}
}

// withHTTPS are the documents of all files, and those of the rendered ones with HTTPS.
func withHTTPS(t *testing.T) map[string][]document {
	t.Helper()
	all := map[string][]document{redirect: readManifest(t, redirect)}
	for _, path := range manifests(t) {
		all[path] = readManifest(t, path)
	}
	for path, documents := range renderWith(t, "components: [../https]\n") {
		all[path+" with HTTPS"] = documents
	}
	return all
}

func deepCopy(t *testing.T, value map[string]any) map[string]any {
	t.Helper()
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	var copied map[string]any
	// With integers as an API server has them.
	if err := utiljson.Unmarshal(text, &copied); err != nil {
		t.Fatal(err)
	}
	return copied
}
