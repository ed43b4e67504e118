package mesh

import (
	"maps"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// gateway is an ingress gateway: not part of the manifests, but selected by their Gateway, or created for it.
type gateway struct {
	namespace string
	account   string
	service   string
	labels    map[string]string
	listens   int32 // the port of its pods
}

var (
	// istioGateway is the gateway of `istioctl install`.
	istioGateway = gateway{
		"istio-system", "istio-ingressgateway-service-account", "istio-ingressgateway",
		map[string]string{"istio": "ingressgateway"}, 8080,
	}
	// addOnGateway is the external gateway of the AKS add-on.
	addOnGateway = gateway{
		"aks-istio-ingress", "aks-istio-ingressgateway-external", "aks-istio-ingressgateway-external",
		map[string]string{"istio": "aks-istio-ingressgateway-external"}, 8080,
	}
	// createdGateway is the one that Istio creates for the Gateway of the Gateway API.
	createdGateway = gateway{
		namespace, "voting-app-gateway-istio", "voting-app-gateway-istio",
		map[string]string{
			"gateway.networking.k8s.io/gateway-name":       "voting-app-gateway",
			"gateway.networking.k8s.io/gateway-class-name": "istio",
		}, 80,
	}
)

const (
	gatewayAddress = "10.1.0.1"
	gatewayName    = "gateway" // as the tests' tables call it
)

// newService offers port 80 at the port that the gateway listens on.
func (g gateway) newService(listens int32) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: g.service, Namespace: g.namespace},
		Spec: corev1.ServiceSpec{
			Type:      corev1.ServiceTypeLoadBalancer,
			ClusterIP: "10.96.0.1",
			Selector:  g.labels,
			Ports:     []corev1.ServicePort{{Name: "http2", Port: 80, TargetPort: intstr.FromInt32(listens)}},
		},
	}
}

func (g gateway) pod() *corev1.Pod {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: gatewayName + "-0", Namespace: g.namespace, Labels: maps.Clone(g.labels)},
		Spec: corev1.PodSpec{
			ServiceAccountName: g.account,
			Containers: []corev1.Container{{
				Name:  "istio-proxy",
				Ports: []corev1.ContainerPort{{ContainerPort: g.listens}},
			}},
		},
	}
	setAddress(pod, gatewayAddress)
	return pod
}

// track is one of the tutorial's two ways through its steps.
type track struct {
	name    string
	gateway gateway
	// entrance is the document that is applied last before there is traffic.
	entrance string
}

var (
	istioTrack = track{"Istio", istioGateway, "gateway.networking.istio.io/voting-app-gateway"}
	apiTrack   = track{"Gateway API", createdGateway, "gateway.gateway.networking.k8s.io/voting-app-gateway"}
	tracks     = []track{istioTrack, apiTrack}
)

// TestTheGatewayOfTheAddOnReachesTheApp follows the tutorial on AKS up to the canary. The files rendered with the component
// aks-add-on are the only difference; a gateway with another identity is rejected.
func TestTheGatewayOfTheAddOnReachesTheApp(t *testing.T) {
	stranger := addOnGateway
	stranger.account = "another"
	rendered := renderWith(t, "components: [../aks-add-on]\n")
	for _, one := range []struct {
		gateway  gateway
		rendered bool
		want     string
	}{
		{addOnGateway, true, app1 + " 100"},
		{addOnGateway, false, noRoute},
		{stranger, true, denied + " 100"},
	} {
		c := newCluster()
		c.gateway = one.gateway
		for _, path := range []string{
			"k8s/step-0-create-namespace.yaml",
			"k8s/step-1-create-voting-app.yaml",
			"istio/step-1-create-voting-app-gateway.yaml",
			"k8s/step-2-update-voting-analytics-to-1.1.yaml",
			"istio/step-2-update-and-add-routing-for-all-components.yaml",
		} {
			documents := rendered[path]
			if documents == nil || !one.rendered {
				documents = readManifest(t, path)
			}
			for _, d := range documents {
				c.apply(d)
			}
		}
		got := newMesh(t, c).reach(request{from: gatewayName}).String()
		if !strings.HasPrefix(got, one.want) {
			t.Errorf("%s, rendered: %t: %s, want %s", one.gateway.account, one.rendered, got, one.want)
		}
	}
}
