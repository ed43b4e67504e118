package mesh

import (
	"context"
	"errors"
	"fmt"
	"reflect"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	networking "istio.io/api/networking/v1alpha3"
	"istio.io/istio/pkg/config/constants"
)

// publish brings the running control plane's view of the cluster up to date, object by object, and computes the
// routes between workloads again.
func (s *stage) publish() error {
	pods := s.cluster.pods()
	services := s.cluster.services()
	var endpointSlices []*discoveryv1.EndpointSlice
	for _, service := range services {
		endpointSlices = append(endpointSlices, s.cluster.endpointSlices(service, pods)...)
	}
	kube := s.server.KubeClient().Kube()
	err := errors.Join(
		bring(pods, func(namespace string) objects[*corev1.Pod, *corev1.PodList] { return kube.CoreV1().Pods(namespace) }),
		bring(services, func(namespace string) objects[*corev1.Service, *corev1.ServiceList] {
			return kube.CoreV1().Services(namespace)
		}),
		bring(endpointSlices, func(namespace string) objects[*discoveryv1.EndpointSlice, *discoveryv1.EndpointSliceList] {
			return kube.DiscoveryV1().EndpointSlices(namespace)
		}),
		bring(s.cluster.routes(), func(namespace string) objects[*gatewayv1.HTTPRoute, *gatewayv1.HTTPRouteList] {
			return s.server.KubeClient().GatewayAPI().GatewayV1().HTTPRoutes(namespace)
		}),
		bring(s.cluster.gateways(), func(namespace string) objects[*gatewayv1.Gateway, *gatewayv1.GatewayList] {
			return s.server.KubeClient().GatewayAPI().GatewayV1().Gateways(namespace)
		}),
		s.publishConfigs(),
	)
	if err != nil {
		return err
	}
	simulated := s.cluster.clone()
	m := newMesh(s.t, simulated)
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.mesh = m
	s.routes = map[string]reached{}
	return nil
}

// objects are one kind of objects in one namespace, as Kubernetes' client has them.
type objects[T any, L any] interface {
	Create(context.Context, T, metav1.CreateOptions) (T, error)
	Update(context.Context, T, metav1.UpdateOptions) (T, error)
	Delete(context.Context, string, metav1.DeleteOptions) error
	List(context.Context, metav1.ListOptions) (L, error)
}

func bring[T metav1.Object, L any](wanted []T, in func(namespace string) objects[T, L]) error {
	background := context.Background()
	keep := map[string]bool{}
	for _, namespaceOf := range []string{namespace, istioGateway.namespace} {
		list, err := in(namespaceOf).List(background, metav1.ListOptions{})
		if err != nil {
			return err
		}
		existing := map[string]any{}
		items := reflect.ValueOf(list).Elem().FieldByName("Items")
		for i := range items.Len() {
			item := items.Index(i).Addr().Interface()
			existing[item.(metav1.Object).GetName()] = item
		}
		for _, one := range wanted {
			if one.GetNamespace() != namespaceOf {
				continue
			}
			keep[one.GetName()] = true
			if before, found := existing[one.GetName()]; !found {
				_, err = in(namespaceOf).Create(background, one, metav1.CreateOptions{})
			} else if !equality.Semantic.DeepEqual(before, any(one)) {
				_, err = in(namespaceOf).Update(background, one, metav1.UpdateOptions{})
			}
			if err != nil {
				return fmt.Errorf("%s: %w", one.GetName(), err)
			}
		}
		for name := range existing {
			if !keep[name] {
				if err := in(namespaceOf).Delete(background, name, metav1.DeleteOptions{}); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (s *stage) publishConfigs() error {
	store := s.server.Store()
	keep := map[string]bool{}
	for _, c := range s.cluster.configs() {
		keep[c.Key()] = true
		if rule, ok := c.Spec.(*networking.DestinationRule); ok {
			// The programs behind the real Envoy have no sidecars.
			plain := rule.DeepCopy()
			plain.TrafficPolicy.Tls.Mode = networking.ClientTLSSettings_DISABLE
			c.Spec = plain
		}
		var err error
		if before := store.Get(c.GroupVersionKind, c.Name, c.Namespace); before == nil {
			_, err = store.Create(c)
		} else if !reflect.DeepEqual(before.Spec, c.Spec) {
			_, err = store.Update(c)
		}
		if err != nil {
			return err
		}
	}
	for _, schema := range store.Schemas().All() {
		for _, c := range store.List(schema.GroupVersionKind(), namespace) {
			// The control plane's own translation of the Gateway API is not for us to delete.
			if _, isTranslation := c.Annotations[constants.InternalParentNames]; !keep[c.Key()] && !isTranslation {
				if err := store.Delete(c.GroupVersionKind, c.Name, c.Namespace, nil); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
