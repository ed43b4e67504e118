package mesh

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
)

// startable returns the reason why a workload's pods could not start: a reference to a missing object.
func (c *cluster) startable(key string) error {
	var spec corev1.PodSpec
	switch workload := c.documents[key].object.(type) {
	case *appsv1.Deployment:
		spec = workload.Spec.Template.Spec
	case *batchv1.Job:
		spec = workload.Spec.Template.Spec
	default:
		return fmt.Errorf("there is no workload %s", key)
	}
	if _, found := c.documents["serviceaccount/"+spec.ServiceAccountName]; !found {
		return fmt.Errorf("%s: there is no service account %q", key, spec.ServiceAccountName)
	}
	for _, volume := range spec.Volumes {
		if claim := volume.PersistentVolumeClaim; claim != nil {
			if _, found := c.documents["persistentvolumeclaim/"+claim.ClaimName]; !found {
				return fmt.Errorf("%s: there is no volume claim %s", key, claim.ClaimName)
			}
		}
	}
	for _, container := range spec.Containers {
		for _, variable := range container.Env {
			if variable.ValueFrom == nil || variable.ValueFrom.SecretKeyRef == nil {
				continue
			}
			ref := variable.ValueFrom.SecretKeyRef
			secret, _ := c.documents["secret/"+ref.Name].object.(*corev1.Secret)
			if secret == nil || secret.StringData[ref.Key] == "" {
				return fmt.Errorf("%s: the secret %s holds no %s", key, ref.Name, ref.Key)
			}
		}
	}
	return nil
}
