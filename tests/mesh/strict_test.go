package mesh

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// manifests are the YAML files of the steps.
func manifests(t *testing.T) []string {
	t.Helper()
	var paths []string
	for _, pattern := range []string{"gateway-api/*.yaml", "istio/*.yaml", "istio/faults/*.yaml", "k8s/*.yaml"} {
		found, err := fs.Glob(os.DirFS(root), pattern)
		if err != nil {
			t.Fatal(err)
		}
		paths = append(paths, found...)
	}
	if len(paths) < 12 {
		t.Fatalf("there are %d manifests only: %s", len(paths), paths)
	}
	return paths
}

// TestEveryFieldOfEveryDocumentIsKnown misspells each field of each document, one at a time: Istio and Kubernetes must
// accept the document as it is, and reject it with the misspelling.
func TestEveryFieldOfEveryDocumentIsKnown(t *testing.T) {
	misspellings := 0
	for _, path := range manifests(t) {
		for _, d := range readManifest(t, path) {
			var content map[string]any
			if err := yaml.Unmarshal([]byte(d.text), &content); err != nil {
				t.Fatal(err)
			}
			misspell(content, func(field string) {
				misspellings++
				text, err := yaml.Marshal(content)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := parseDocument(text); err == nil {
					t.Errorf("%s: %s: the misspelt field %q is accepted", path, d.key, field)
				}
			})
		}
	}
	t.Logf("%d misspellings refused", misspellings)
}

// free are the fields that hold keys of the author's own choice.
var free = map[string]bool{
	"labels": true, "annotations": true, "matchLabels": true, "sourceLabels": true, "selector": true,
	"requests": true, "limits": true, "headers": true, "add": true, "data": true,
}

// misspell changes one field's name after the other, calls check, and restores the name.
func misspell(value any, check func(field string)) {
	switch v := value.(type) {
	case []any:
		for _, one := range v {
			misspell(one, check)
		}
	case map[string]any:
		fields := make([]string, 0, len(v))
		for field := range v {
			fields = append(fields, field)
		}
		for _, field := range fields {
			inner := v[field]
			delete(v, field)
			v[field+"x"] = inner
			check(field)
			delete(v, field+"x")
			v[field] = inner
			if m, isMap := inner.(map[string]any); !free[field] || !isMap || m["matchLabels"] != nil || m["response"] != nil {
				misspell(inner, check)
			}
		}
	}
}

// TestAMisspeltDocumentIsRejected shows that the parser can fail, on the mistakes that are easily made.
func TestAMisspeltDocumentIsRejected(t *testing.T) {
	text := mustRead(t, "istio/step-3-add-routing-for-2.0-components.yaml")
	for _, change := range [][2]string{
		{"subsets:", "subset:"},
		{"serviceAccounts:", "serviceAccount:"},
		{"attempts: 2", "attempt: 2"},
		{"regex: '(.*", "regex: '((.*"},
		{"number: 3306", "number: 330600"},
	} {
		broken := strings.ReplaceAll(text, change[0], change[1])
		if broken == text {
			t.Fatalf("the file has no %q", change[0])
		}
		if _, err := parseManifest([]byte(broken)); err == nil {
			t.Errorf("%q is accepted", change[1])
		}
	}
}

func mustRead(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
