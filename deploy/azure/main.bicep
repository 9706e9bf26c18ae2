// All that publishing needs: a workspace with what it stands on, a registry, a compute instance with a GPU, and who may do what.
targetScope = 'resourceGroup'

@description('What the names begin with: small letters and digits, a letter first. The workspace has this very name.')
@minLength(3)
@maxLength(10)
param name string = 'edge'

param location string = resourceGroup().location

@description('Object id of the person whom the compute instance belongs to, and who publishes.')
@minLength(36)
@maxLength(36)
param owner string

@description('Who else may publish: {id: object id, type: User, Group or ServicePrincipal} each.')
param publishers array = []

@description('Who pulls images and nothing else, devices above all: {id, type} each.')
param devices array = []

@description('Identity: models lie in storage that knows no keys; AccessKey: the workspace hands out keys to it.')
@allowed(['Identity', 'AccessKey'])
param datastoreAccess string = 'Identity'

@description('false: no compute instance, for those who have a machine of their own.')
param withInstance bool = true

@description('A size with an NVIDIA GPU; its temporary disk holds runs, models and cache.')
param instanceSize string = 'Standard_NC8as_T4_v3'

@description('The instance stops after so many minutes without activity. A run in a terminal is none.')
@minValue(15)
@maxValue(4320)
param idleMinutes int = 60

@description('An RSA public key opens SSH to the instance, on a port that the internet sees; without one there is the terminal of the studio.')
param sshPublicKey string = ''

@description('true: the instance has an identity of its own, for publishing while its owner is not signed in. README.md tells the price.')
param machineIdentity bool = false

@description('Address that git clones the toolkit from, without a password; empty: the instance is prepared and the toolkit left out.')
param toolkitRepository string = ''

@description('The commit to install, in full: names of branches and tags can move.')
param toolkitRevision string = ''

@allowed(['Basic', 'Standard', 'Premium'])
param registrySku string = 'Standard'

param tags object = {}

var suffix = uniqueString(resourceGroup().id, name)
var labels = union({ 'edge-toolkit': name }, tags)
var person = [{ id: owner, type: 'User' }]

module observability 'modules/observability.bicep' = {
  name: '${name}-observability'
  params: {
    name: name
    location: location
    tags: labels
  }
}

module vault 'modules/vault.bicep' = {
  name: '${name}-vault'
  params: {
    name: '${name}-${suffix}'
    location: location
    tags: labels
  }
}

module storage 'modules/storage.bicep' = {
  name: '${name}-storage'
  params: {
    name: '${name}${suffix}'
    location: location
    sharedKeys: datastoreAccess == 'AccessKey'
    tags: labels
  }
}

module registry 'modules/registry.bicep' = {
  name: '${name}-registry'
  params: {
    name: '${name}${suffix}'
    location: location
    sku: registrySku
    tags: labels
  }
}

module workspace 'modules/workspace.bicep' = {
  name: '${name}-workspace'
  params: {
    name: name
    location: location
    storageId: storage.outputs.id
    vaultId: vault.outputs.id
    insightsId: observability.outputs.insightsId
    registryId: registry.outputs.id
    datastoreAccess: datastoreAccess
    tags: labels
  }
}

module roles 'modules/roles.bicep' = {
  name: '${name}-roles'
  params: {
    workspaceName: workspace.outputs.name
    registryName: registry.outputs.name
    storageName: storage.outputs.name
    publishers: union(person, publishers)
    devices: devices
    fileUsers: withInstance ? person : []
    identityBased: datastoreAccess == 'Identity'
  }
}

module identity 'modules/identity.bicep' = if (withInstance && machineIdentity) {
  name: '${name}-identity'
  params: {
    name: '${name}-instance'
    location: location
    workspaceName: workspace.outputs.name
    registryName: registry.outputs.name
    storageName: storage.outputs.name
    identityBased: datastoreAccess == 'Identity'
    tags: labels
  }
}

module instance 'modules/instance.bicep' = if (withInstance) {
  name: '${name}-instance'
  params: {
    name: '${name}gpu${take(suffix, 6)}'
    location: location
    workspaceName: workspace.outputs.name
    registryHost: registry.outputs.host
    size: instanceSize
    idleMinutes: idleMinutes
    sshPublicKey: sshPublicKey
    owner: owner
    identityId: withInstance && machineIdentity ? identity.outputs.id : ''
    toolkitRepository: toolkitRepository
    toolkitRevision: toolkitRevision
    tags: labels
  }
  // Its owner's share is mounted when it is made: the roles must be there by then.
  dependsOn: [roles]
}

output workspace string = '${subscription().subscriptionId}/${resourceGroup().name}/${workspace.outputs.name}'
output registry string = registry.outputs.host
output instance string = withInstance ? instance.outputs.name : ''
