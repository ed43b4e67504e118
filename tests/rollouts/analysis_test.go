package rollouts

import (
	"context"
	"maps"
	"slices"
	"testing"
	"time"

	prometheusprovider "github.com/argoproj/argo-rollouts/metricproviders/prometheus"
	"github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	analysisutil "github.com/argoproj/argo-rollouts/utils/analysis"
	v1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"
	"github.com/sirupsen/logrus"
)

// answers replaces Prometheus and gives one answer to every query. tests/monitoring runs the queries on a real Prometheus.
type answers struct {
	v1.API
	vector model.Vector
}

func (a answers) Query(context.Context, string, time.Time, ...v1.Option) (model.Value, v1.Warnings, error) {
	return a.vector, nil, nil
}

func TestAnAnswerIsJudgedAsItShouldBe(t *testing.T) {
	const good, bad, open = v1alpha1.AnalysisPhaseSuccessful, v1alpha1.AnalysisPhaseFailed, v1alpha1.AnalysisPhaseInconclusive
	type judgement struct{ absent, zero, little, much v1alpha1.AnalysisPhase }
	want := map[string]judgement{ // for no answer, 0, 0.005 and 3
		"error-ratio":       {good, good, good, bad},
		"p99":               {good, good, good, bad},
		"restarts":          {good, good, bad, bad},
		"refused-votes":     {good, good, bad, bad},
		"lost-votes":        {open, good, bad, bad},
		"unexplained-votes": {good, good, bad, bad},
		"accepted-votes":    {open, open, good, good},
	}
	var seen, jobs []string
	for _, document := range documents(t, "progressive-delivery/argo-rollouts/analysis.yaml") {
		template := strictly[v1alpha1.AnalysisTemplate](t, document)
		for _, metric := range template.Spec.Metrics {
			if err := analysisutil.ValidateMetric(metric); err != nil {
				t.Errorf("%s: %v", metric.Name, err)
			}
			if metric.Provider.Job != nil {
				jobs = append(jobs, metric.Name)
				continue
			}
			seen = append(seen, metric.Name)
			expected := want[metric.Name]
			for _, one := range []struct {
				vector model.Vector
				want   v1alpha1.AnalysisPhase
			}{
				{nil, expected.absent},
				{model.Vector{{Value: 0}}, expected.zero},
				{model.Vector{{Value: 0.005}}, expected.little},
				{model.Vector{{Value: 3}}, expected.much},
			} {
				provider, err := prometheusprovider.NewPrometheusProvider(answers{vector: one.vector}, *logrus.NewEntry(logrus.New()), metric)
				if err != nil {
					t.Fatal(err)
				}
				if got := provider.Run(&v1alpha1.AnalysisRun{}, metric); got.Phase != one.want {
					t.Errorf("%s: %v is %s (%s), want %s", metric.Name, one.vector, got.Phase, got.Message, one.want)
				}
			}
		}
	}
	slices.Sort(seen)
	if all := slices.Sorted(maps.Keys(want)); !slices.Equal(seen, all) {
		t.Errorf("%s, want %s", seen, all)
	}
	// Its exit code is the judgement: tests/services.
	if want := []string{"account"}; !slices.Equal(jobs, want) {
		t.Errorf("jobs: %s, want %s", jobs, want)
	}
}
