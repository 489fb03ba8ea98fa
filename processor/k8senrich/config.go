// SPDX-License-Identifier: Apache-2.0

package k8senrich

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/configoptional"
	"go.opentelemetry.io/collector/confmap"
)

// Config says which sources and names are in use. Each is off until its key
// stands in the configuration.
type Config struct {
	// DownwardAPI describes the pod that the collector itself runs in.
	DownwardAPI configoptional.Optional[DownwardAPIConfig] `mapstructure:"downward_api"`
	// PodAssociation finds the pod that telemetry is from by its address.
	PodAssociation configoptional.Optional[PodAssociationConfig] `mapstructure:"pod_association"`
	// ContainerResources takes limits and requests from the API server.
	ContainerResources configoptional.Optional[ContainerResourcesConfig] `mapstructure:"container_resources"`
	// Aliases gives attributes a second name.
	Aliases Aliases `mapstructure:"aliases"`

	_ struct{}
}

var (
	_ component.Config    = (*Config)(nil)
	_ confmap.Unmarshaler = (*Config)(nil)
)

// Unmarshal is the usual one with a message of our own for the key that takes
// values of two types.
func (c *Config) Unmarshal(conf *confmap.Conf) error {
	switch v := conf.Get("aliases").(type) {
	case nil, string, map[string]any:
		return conf.Unmarshal(c)
	default:
		return fmt.Errorf("aliases: %v %s", v, wantAliases)
	}
}

// Validate refuses a configuration that does nothing.
func (c *Config) Validate() error {
	if !c.DownwardAPI.HasValue() && !c.PodAssociation.HasValue() && !c.ContainerResources.HasValue() && len(c.Aliases) == 0 {
		return errors.New("nothing to do: set at least one of downward_api, pod_association, container_resources, aliases")
	}
	return nil
}

// DownwardAPIConfig says where the pod's description of itself is found.
type DownwardAPIConfig struct {
	// Directory is where a downwardAPI volume is mounted that has the files
	// labels and annotations. Empty means that there is no such volume.
	Directory string `mapstructure:"directory"`
	// Env names for each attribute the environment variable that holds it.
	// What the user writes is added to the default list; an empty name takes
	// an attribute off it.
	Env map[string]string `mapstructure:"env"`
	// CPUUnit says what a whole number means in a variable that holds CPU.
	CPUUnit CPUUnit `mapstructure:"cpu_unit"`

	_ struct{}
}

// Validate checks what can be checked without a pod.
func (c *DownwardAPIConfig) Validate() error {
	var errs []error
	used := c.Directory != ""
	for attribute, variable := range c.Env {
		switch {
		case attribute == "":
			errs = append(errs, fmt.Errorf("env: variable %q has no attribute to go to", variable))
		case strings.ContainsAny(variable, "=\x00"):
			errs = append(errs, fmt.Errorf("env: %s: %q is not the name of an environment variable", attribute, variable))
		}
		used = used || variable != ""
	}
	if !used {
		errs = append(errs, errors.New("directory and env must not both be empty"))
	}
	return errors.Join(errs...)
}

// CPUUnit is the meaning of a whole number in a variable that holds CPU: a
// resourceFieldRef gives a bare number and its divisor says of what.
type CPUUnit string

const (
	// CPUUnitAuto takes numbers from 100 as thousandths and others as cores.
	CPUUnitAuto CPUUnit = "auto"
	// CPUUnitCores is for resourceFieldRef without a divisor.
	CPUUnitCores CPUUnit = "cores"
	// CPUUnitMillicores is for resourceFieldRef with divisor 1m.
	CPUUnitMillicores CPUUnit = "millicores"
)

// Validate implements confmap.Validator.
func (u CPUUnit) Validate() error {
	return oneOf(u, CPUUnitAuto, CPUUnitCores, CPUUnitMillicores)
}

// PodAssociationConfig says where it is known which pod has which address, and how
// old that may be.
type PodAssociationConfig struct {
	// AuthType has the meaning it has in k8s_attributes.
	AuthType AuthType `mapstructure:"auth_type"`
	// NodeFromEnvVar names an environment variable with the name of a node;
	// only the pods of that node are watched. Empty means all nodes.
	NodeFromEnvVar string `mapstructure:"node_from_env_var"`
	// MaxStaleness is how long after the loss of the API server an address still tells
	// the pod. It may have become another's.
	MaxStaleness time.Duration `mapstructure:"max_staleness"`

	_ struct{}
}

// Validate checks what the types of the fields do not.
func (c *PodAssociationConfig) Validate() error {
	if c.MaxStaleness < 0 || c.MaxStaleness > 0 && c.MaxStaleness < time.Millisecond {
		return fmt.Errorf("max_staleness: %s is not allowed; want 0s, or a duration from 1ms with its unit, such as 10m", c.MaxStaleness)
	}
	return nil
}

// ContainerResourcesConfig says how the API server is reached and what is
// taken from it.
type ContainerResourcesConfig struct {
	// AuthType has the meaning it has in k8s_attributes.
	AuthType AuthType `mapstructure:"auth_type"`
	// NodeFromEnvVar names an environment variable with the name of a node;
	// only the pods of that node are watched. Empty means all nodes.
	NodeFromEnvVar string `mapstructure:"node_from_env_var"`
	// Attributes are those that may be set. Each stands for the pod's sum of
	// the same resource too.
	Attributes []ResourceAttribute `mapstructure:"attributes"`

	_ struct{}
}

// Validate checks what the types of the fields do not.
func (c *ContainerResourcesConfig) Validate() error {
	if len(c.Attributes) == 0 {
		return errors.New("attributes must not be empty; allowed are " + quoted(resourceAttributes))
	}
	return nil
}

// AuthType is the way to authenticate to the API server.
type AuthType string

const (
	// AuthTypeServiceAccount uses the token that a pod is given.
	AuthTypeServiceAccount AuthType = "serviceAccount"
	// AuthTypeKubeConfig uses $KUBECONFIG or ~/.kube/config.
	AuthTypeKubeConfig AuthType = "kubeConfig"
	// AuthTypeNone sends no credentials and does not verify the server.
	AuthTypeNone AuthType = "none"
)

// Validate implements confmap.Validator.
func (a AuthType) Validate() error {
	return oneOf(a, AuthTypeServiceAccount, AuthTypeKubeConfig, AuthTypeNone)
}

// ResourceAttribute is the name of an attribute that container_resources sets.
type ResourceAttribute string

// The attributes of a container. CPU is in cores, memory in bytes.
const (
	ResourceAttributeCPULimit      ResourceAttribute = "k8s.container.cpu.limit"
	ResourceAttributeMemoryLimit   ResourceAttribute = "k8s.container.memory.limit"
	ResourceAttributeCPURequest    ResourceAttribute = "k8s.container.cpu.request"
	ResourceAttributeMemoryRequest ResourceAttribute = "k8s.container.memory.request"
)

var resourceAttributes = []ResourceAttribute{
	ResourceAttributeCPULimit, ResourceAttributeMemoryLimit,
	ResourceAttributeCPURequest, ResourceAttributeMemoryRequest,
}

// Validate implements confmap.Validator.
func (a ResourceAttribute) Validate() error { return oneOf(a, resourceAttributes...) }

// oneOf is the Validate of an enum. The key is named by confmap.
func oneOf[T ~string](got T, allowed ...T) error {
	if slices.Contains(allowed, got) {
		return nil
	}
	return fmt.Errorf("%q is not one of %s", got, quoted(allowed))
}

func quoted[T ~string](values []T) string {
	list := make([]string, len(values))
	for i, v := range values {
		list[i] = fmt.Sprintf("%q", v)
	}
	return strings.Join(list, ", ")
}
