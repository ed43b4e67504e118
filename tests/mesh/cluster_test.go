package mesh

import (
	"fmt"
	"hash/fnv"
	"slices"
	"sort"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"istio.io/istio/pkg/config"
)

// cluster holds the applied resources and replaces the API server and the controllers of pods and endpoint slices. It is the
// input of Istio's control plane.
type cluster struct {
	documents map[string]document
	replicas  map[string]int32 // what `kubectl scale` has asked for, by deployment
	gateway   gateway
	meshless  bool     // pods have no sidecars
	real      realPods // nil: each pod has an address of its own, a sidecar, and is ready
}

// realPods are pods with running programs, outside of Kubernetes and without sidecars.
type realPods interface {
	// address is where a pod is reached.
	address(pod *corev1.Pod) string
	// port is where a pod's port is reached at that address.
	port(pod *corev1.Pod, port corev1.ContainerPort) int32
	// ready says whether the pod serves.
	ready(pod *corev1.Pod) bool
}

func newCluster() *cluster {
	return &cluster{documents: map[string]document{}, replicas: map[string]int32{}, gateway: istioGateway}
}

// newClusterOf is a cluster whose browsers come in by the gateway of a track.
func newClusterOf(track track) *cluster {
	c := newCluster()
	c.gateway = track.gateway
	return c
}

// apply does one document's part of `kubectl apply` and returns the line that kubectl prints.
func (c *cluster) apply(d document) string {
	verb := "created"
	if before, found := c.documents[d.key]; found {
		verb = "configured"
		if before.text == d.text {
			// Fields of other owners are kept, such as the passwords in the secret.
			return d.key + " unchanged"
		}
	}
	c.documents[d.key] = d
	return d.key + " " + verb
}

func (c *cluster) delete(key string) {
	delete(c.documents, key)
}

// clone copies the cluster for a test that continues from here.
func (c *cluster) clone() *cluster {
	other := newCluster()
	other.gateway, other.meshless = c.gateway, c.meshless
	for k, v := range c.documents {
		other.documents[k] = v
	}
	for k, v := range c.replicas {
		other.replicas[k] = v
	}
	return other
}

func (c *cluster) sortedKeys() []string {
	keys := make([]string, 0, len(c.documents))
	for key := range c.documents {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	return keys
}

func (c *cluster) configs() []config.Config {
	var configs []config.Config
	for _, key := range c.sortedKeys() {
		if found := c.documents[key].config; found != nil {
			configs = append(configs, *found)
		}
	}
	return configs
}

// objects are the Kubernetes objects that Istio's control plane watches.
func (c *cluster) objects() []runtime.Object {
	var objects []runtime.Object
	pods := c.pods()
	for _, pod := range pods {
		objects = append(objects, pod)
	}
	for _, service := range c.services() {
		objects = append(objects, service)
		for _, slice := range c.endpointSlices(service, pods) {
			objects = append(objects, slice)
		}
	}
	for _, route := range c.routes() {
		objects = append(objects, route)
	}
	for _, gateway := range c.gateways() {
		objects = append(objects, gateway)
	}
	objects = append(objects, routingClass)
	for _, name := range []string{namespace, istioGateway.namespace, addOnGateway.namespace} {
		objects = append(objects, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
	}
	return objects
}

// objectsOf are the documents of a kind, by name.
func objectsOf[T runtime.Object](c *cluster) []T {
	var all []T
	for _, key := range c.sortedKeys() {
		if object, ok := c.documents[key].object.(T); ok {
			all = append(all, object)
		}
	}
	return all
}

// inNamespace are copies of objects, in the tutorial's namespace.
func inNamespace[T interface {
	runtime.Object
	metav1.Object
}](objects []T) []T {
	var all []T
	for _, object := range objects {
		object = object.DeepCopyObject().(T)
		object.SetNamespace(namespace)
		all = append(all, object)
	}
	return all
}

// routes and gateways are those of the Gateway API.
func (c *cluster) routes() []*gatewayv1.HTTPRoute {
	return inNamespace(objectsOf[*gatewayv1.HTTPRoute](c))
}

func (c *cluster) gateways() []*gatewayv1.Gateway {
	return inNamespace(objectsOf[*gatewayv1.Gateway](c))
}

func (c *cluster) services() []*corev1.Service {
	listens := c.gateway.listens
	if c.real != nil {
		listens = c.real.port(c.gateway.pod(), corev1.ContainerPort{})
	}
	services := []*corev1.Service{c.gateway.newService(listens)}
	for _, service := range inNamespace(objectsOf[*corev1.Service](c)) {
		service.Spec.ClusterIP = virtualAddress(service.Name)
		service.Spec.ClusterIPs = []string{service.Spec.ClusterIP}
		services = append(services, service)
	}
	return services
}

// pods are the pods that the controllers of Deployments and Jobs would create: ready, and labelled for the sidecar.
func (c *cluster) pods() []*corev1.Pod {
	gateway := c.gateway.pod()
	if c.real != nil {
		setAddress(gateway, c.real.address(gateway))
	}
	pods := []*corev1.Pod{gateway}
	for _, key := range c.sortedKeys() {
		switch workload := c.documents[key].object.(type) {
		case *appsv1.Deployment:
			pods = append(pods, c.podsOf(workload)...)
		case *batchv1.Job:
			pods = append(pods, c.newPod(workload.Name+"-0", workload.Spec.Template))
		}
	}
	return pods
}

// deployments are the Deployments applied so far, by name.
func (c *cluster) deployments() []*appsv1.Deployment {
	return objectsOf[*appsv1.Deployment](c)
}

func (c *cluster) podsOf(deployment *appsv1.Deployment) []*corev1.Pod {
	replicas := int32(1)
	if deployment.Spec.Replicas != nil {
		replicas = *deployment.Spec.Replicas
	} else if autoscaler, found := c.documents["horizontalpodautoscaler.autoscaling/"+deployment.Name]; found {
		replicas = *autoscaler.object.(*autoscalingv2.HorizontalPodAutoscaler).Spec.MinReplicas
	}
	if scaled, found := c.replicas[deployment.Name]; found {
		replicas = scaled
	}
	var pods []*corev1.Pod
	for i := range replicas {
		pods = append(pods, c.newPod(fmt.Sprintf("%s-%d", deployment.Name, i), deployment.Spec.Template))
	}
	return pods
}

func (c *cluster) newPod(name string, template corev1.PodTemplateSpec) *corev1.Pod {
	pod := &corev1.Pod{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: *template.ObjectMeta.DeepCopy(),
		Spec:       *template.Spec.DeepCopy(),
	}
	pod.Name, pod.Namespace = name, namespace
	if c.real == nil && !c.meshless {
		pod.Labels["security.istio.io/tlsMode"] = "istio"
	}
	if c.real == nil {
		setAddress(pod, podAddress(name))
	} else {
		setAddress(pod, c.real.address(pod))
	}
	return pod
}

func setAddress(pod *corev1.Pod, address string) {
	pod.Status = corev1.PodStatus{
		Phase:      corev1.PodRunning,
		PodIP:      address,
		PodIPs:     []corev1.PodIP{{IP: address}},
		Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
	}
}

// endpointSlices resolves named target ports as the endpoint controller does: a pod without a container port of that name
// is not listed under that port. Pods share a slice only if their ports are the same.
func (c *cluster) endpointSlices(service *corev1.Service, pods []*corev1.Pod) []*discoveryv1.EndpointSlice {
	slicesByPorts := map[string]*discoveryv1.EndpointSlice{}
	selector := labels.SelectorFromSet(service.Spec.Selector)
	for _, pod := range pods {
		if pod.Namespace != service.Namespace || !selector.Matches(labels.Set(pod.Labels)) {
			continue
		}
		var ports []discoveryv1.EndpointPort
		for _, port := range service.Spec.Ports {
			if number, found := c.resolve(pod, port); found {
				ports = append(ports, discoveryv1.EndpointPort{Name: &port.Name, Port: &number, Protocol: protocolTCP()})
			}
		}
		id := describePorts(ports)
		slice, found := slicesByPorts[id]
		if !found {
			slice = &discoveryv1.EndpointSlice{
				ObjectMeta: metav1.ObjectMeta{
					Name:      fmt.Sprintf("%s-%08x", service.Name, hash(id)),
					Namespace: service.Namespace,
					Labels:    map[string]string{discoveryv1.LabelServiceName: service.Name},
				},
				AddressType: discoveryv1.AddressTypeIPv4,
				Ports:       ports,
			}
			slicesByPorts[id] = slice
		}
		ready := c.real == nil || c.real.ready(pod)
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{
			Addresses:  []string{pod.Status.PodIP},
			Conditions: discoveryv1.EndpointConditions{Ready: &ready},
			TargetRef:  &corev1.ObjectReference{Kind: "Pod", Name: pod.Name, Namespace: pod.Namespace},
		})
	}
	ids := make([]string, 0, len(slicesByPorts))
	for id := range slicesByPorts {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	var all []*discoveryv1.EndpointSlice
	for _, id := range ids {
		all = append(all, slicesByPorts[id])
	}
	return all
}

func (c *cluster) resolve(pod *corev1.Pod, port corev1.ServicePort) (int32, bool) {
	for _, container := range pod.Spec.Containers {
		for _, candidate := range container.Ports {
			if port.TargetPort.StrVal != "" && candidate.Name != port.TargetPort.StrVal {
				continue
			}
			if c.real != nil {
				return c.real.port(pod, candidate), true
			}
			return candidate.ContainerPort, true
		}
	}
	return 0, false
}

func describePorts(ports []discoveryv1.EndpointPort) string {
	var all []string
	for _, port := range ports {
		all = append(all, fmt.Sprintf("%s=%d", *port.Name, *port.Port))
	}
	return strings.Join(all, ",")
}

func protocolTCP() *corev1.Protocol {
	tcp := corev1.ProtocolTCP
	return &tcp
}

func hash(text string) uint32 {
	h := fnv.New32a()
	h.Write([]byte(text))
	return h.Sum32()
}

func virtualAddress(service string) string {
	h := hash(service)
	return fmt.Sprintf("10.96.%d.%d", h>>8&0xff, h&0xff)
}

func podAddress(pod string) string {
	h := hash(pod)
	return fmt.Sprintf("10.1.%d.%d", h>>8&0xff, h&0xff)
}
