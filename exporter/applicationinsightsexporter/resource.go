// SPDX-License-Identifier: Apache-2.0

package applicationinsightsexporter

import (
	"strings"

	"go.opentelemetry.io/collector/pdata/pcommon"
)

// resourceBlock is a resource as every item below it carries it: encoded once, copied as bytes.
type resourceBlock struct {
	tags  []byte // without braces, never empty
	props []byte // without braces
	keys  []resourceKey
	attrs pcommon.Map
	own   found
}

// resourceKey is where one property lies in props.
type resourceKey struct {
	key        string
	hash       uint
	start, end int
}

func (r *resourceBlock) release() {
	clear(r.own.vals[:])
	clear(r.keys[:cap(r.keys)])
	r.own.clear()
	r.attrs = pcommon.Map{}
}

// setResource makes r the resource of the items that follow.
func (e *encoder) setResource(resource pcommon.Resource) {
	r := &e.res
	r.attrs = resource.Attributes()
	r.own.clear()
	r.own.collect(r.attrs)

	// Tags and properties are built at the end of buf and moved, so that they go through the same writers as
	// everything else.
	start, cut := len(e.buf), e.cut
	e.raw(`"ai.internal.sdkVersion":`)
	sdk := textOf(e.sdkVersion)
	e.buf, _ = sdk.append(e.buf, limitTagShort)
	role, instance := cloudRole(&r.own), cloudRoleInstance(&r.own)
	e.tagText(`"ai.cloud.role":`, &role, limitTagMedium)
	e.tagText(`"ai.cloud.roleInstance":`, &instance, limitTagMedium)
	e.tag(`"ai.application.ver":`, r.own.str(attrServiceVersion), limitTagLong)
	r.tags = append(r.tags[:0], e.buf[start:]...)
	e.buf = e.buf[:start]

	r.props, r.keys = r.props[:0], r.keys[:0]
	if !e.resource {
		e.cut = cut
		return
	}
	e.keys, e.filter = e.keys[:0], keyFilter{}
	e.raw("{")
	for k, v := range r.attrs.All() {
		before := len(e.buf)
		e.resourceProperty(k, v)
		if len(e.buf) == before {
			continue
		}
		if e.buf[before] == ',' {
			before++
		}
		k, h := clean(k, keyHash(k))
		r.keys = append(r.keys, resourceKey{key: k, hash: h, start: before - start - 1, end: len(e.buf) - start - 1})
	}
	r.props = append(r.props, e.buf[start+1:]...)
	e.buf = e.buf[:start]
	// What was cut is counted once a resource, not once an item.
}

// resourceProperty writes one resource attribute as a property. The role and its instance are tags, and are said
// once.
func (e *encoder) resourceProperty(k string, v pcommon.Value) {
	h := keyHash(k)
	switch a := lookupAttr(k, h); {
	case a == attrAICloudRole, a == attrAICloudRoleInstance, a == attrMarker:
		return
	case a == attrNone && reserved(k):
		return
	}
	e.property(k, h, v)
}

// resourceProperties adds the resource to the properties of the item at hand, which win over it.
func (e *encoder) resourceProperties() {
	r := &e.res
	if e.freeText < limitPropertyValue {
		for k, v := range r.attrs.All() {
			e.resourceProperty(k, v)
		}
		return
	}
	if len(r.keys) == 0 {
		return
	}
	overlap := false
	for i := range r.keys {
		if k := &r.keys[i]; e.filter.has(k.hash) && e.hasKey(k.key) {
			overlap = true
			break
		}
	}
	if !overlap {
		e.comma()
		e.buf = append(e.buf, r.props...)
		return
	}
	for i := range r.keys {
		if k := &r.keys[i]; !e.filter.has(k.hash) || !e.hasKey(k.key) {
			e.comma()
			e.buf = append(e.buf, r.props[k.start:k.end]...)
		}
	}
}

func (e *encoder) comma() {
	if e.buf[len(e.buf)-1] != '{' {
		e.raw(",")
	}
}

// cloudRole is what ai.cloud.role says and else the order of Microsoft's own SDKs: the service's name, the
// Kubernetes workload, and a name that an SDK made up only if there is nothing better.
func cloudRole(r *found) (t text) {
	if role := r.str(attrAICloudRole); role != "" {
		t.str(role)
		return t
	}
	service := r.str(attrServiceName)
	madeUp := service == "" || strings.HasPrefix(service, "unknown_service")
	if madeUp {
		if workload := r.str(attrK8SDeploymentName, attrK8SReplicaSetName, attrK8SStatefulSetName, attrK8SJobName,
			attrK8SCronJobName, attrK8SDaemonSetName); workload != "" {
			t.str(workload)
			return t
		}
	}
	if namespace := r.str(attrServiceNamespace); namespace != "" && service != "" {
		t.str(namespace)
		t.str(".")
	}
	t.str(service)
	return t
}

// cloudRoleInstance never falls back to the collector's own host: it is not where the telemetry comes from.
func cloudRoleInstance(r *found) text {
	return textOf(r.str(attrAICloudRoleInstance, attrServiceInstanceID, attrK8SPodName, attrHostName, attrHostID))
}

// deviceTags writes the tags on the device. What the item says wins over what the resource says.
func (e *encoder) deviceTags(f *found) {
	r := &e.res.own
	e.tag(`"ai.device.id":`, firstOf(f.str(attrAIDeviceID), r.str(attrAIDeviceID, attrDeviceID)), limitTagLong)
	e.tag(`"ai.device.model":`, firstOf(f.str(attrAIDeviceModel), r.str(attrAIDeviceModel, attrDeviceModelName)), limitTagMedium)
	e.tag(`"ai.device.oemName":`, r.str(attrDeviceManufacturer), limitTagMedium)
	e.tag(`"ai.device.type":`, firstOf(f.str(attrAIDeviceType), r.str(attrAIDeviceType)), limitTagShort)
	if v := firstOf(f.str(attrAIDeviceOSVersion), r.str(attrAIDeviceOSVersion)); v != "" {
		e.tag(`"ai.device.osVersion":`, v, limitTagMedium)
		return
	}
	if name := r.str(attrOSName); name != "" {
		os := textOf(name)
		if version := r.str(attrOSVersion); version != "" {
			os.str(" ")
			os.str(version)
		}
		e.tagText(`"ai.device.osVersion":`, &os, limitTagMedium)
	}
}

func firstOf(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
