package mesh

import "testing"

func TestThin(t *testing.T) {
	c := newCluster()
	for _, f := range []string{"k8s/step-1-create-voting-app.yaml", "istio/step-1-create-voting-app-gateway.yaml"} {
		for _, d := range readManifest(t, f) {
			t.Log(c.apply(d))
		}
	}
	show := func() {
		m := newMesh(t, c)
		for _, r := range []request{{from: "gateway"}, {from: "gateway", cookies: []string{"featureflag=on"}},
			{from: "voting-app-1-0", service: "voting-analytics", port: 8080},
			{from: "voting-app-1-0", service: "voting-storage", port: 6379},
			{from: "voting-app-1-0", service: "voting-storage", port: 3306},
			{from: "voting-analytics-1-0", service: "voting-app", port: 8080},
			{from: "voting-app-1-0", service: "voting-storage", port: 6379, plaintext: true},
		} {
			t.Logf("%+v -> %v", r, m.reach(r))
		}
	}
	show()
	for _, f := range []string{"k8s/step-2-update-voting-analytics-to-1.1.yaml", "istio/step-2-update-and-add-routing-for-all-components.yaml",
		"istio/step-3-add-routing-for-2.0-components.yaml"} {
		for _, d := range readManifest(t, f) {
			t.Log(c.apply(d))
		}
	}
	show()
	for _, f := range []string{"k8s/step-3-update-voting-app-with-new-storage.yaml", "istio/step-3b-widen-canary-to-10-percent.yaml"} {
		for _, d := range readManifest(t, f) {
			t.Log(c.apply(d))
		}
	}
	show()
}
