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
	holds := func(secret, entry string) error {
		found, _ := c.documents["secret/"+secret].object.(*corev1.Secret)
		if found == nil || found.StringData[entry] == "" {
			return fmt.Errorf("%s: the secret %s holds no %s", key, secret, entry)
		}
		return nil
	}
	for _, volume := range spec.Volumes {
		if volume.Secret != nil {
			for _, item := range volume.Secret.Items {
				if err := holds(volume.Secret.SecretName, item.Key); err != nil {
					return err
				}
			}
		}
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
			if err := holds(ref.Name, ref.Key); err != nil {
				return err
			}
		}
	}
	return nil
}
