package mesh

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// The ingress gateway as `istioctl install` makes it: no part of our manifests, but selected by our Gateway.
const (
	gatewayNamespace = "istio-system"
	gatewayAccount   = "istio-ingressgateway-service-account"
	gatewayAddress   = "10.1.0.1"
	gatewayPort      = 8080
)

var gatewayLabels = map[string]string{"istio": "ingressgateway", "app": "istio-ingressgateway"}

// gatewayService offers port 80 at the port that the gateway listens on.
func gatewayService(listens int32) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "istio-ingressgateway", Namespace: gatewayNamespace},
		Spec: corev1.ServiceSpec{
			Type:      corev1.ServiceTypeLoadBalancer,
			ClusterIP: "10.96.0.1",
			Selector:  gatewayLabels,
			Ports:     []corev1.ServicePort{{Name: "http2", Port: 80, TargetPort: intstr.FromInt32(listens)}},
		},
	}
}

func gatewayPod() *corev1.Pod {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "istio-ingressgateway-0", Namespace: gatewayNamespace, Labels: gatewayLabels},
		Spec: corev1.PodSpec{
			ServiceAccountName: gatewayAccount,
			Containers: []corev1.Container{{
				Name:  "istio-proxy",
				Ports: []corev1.ContainerPort{{ContainerPort: gatewayPort}},
			}},
		},
	}
	setAddress(pod, gatewayAddress)
	return pod
}
