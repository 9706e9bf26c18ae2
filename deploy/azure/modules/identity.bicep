// The compute instance's own identity: it publishes like a person, and can stop its instance.
param name string
param location string
param workspaceName string
param registryName string
param storageName string
param identityBased bool
param tags object

var contributor = subscriptionResourceId('Microsoft.Authorization/roleDefinitions', 'b24988ac-6180-42a0-ab88-20f7382dd24c')

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: name
  location: location
  tags: tags
}

resource workspace 'Microsoft.MachineLearningServices/workspaces@2025-12-01' existing = {
  name: workspaceName
}

module roles 'roles.bicep' = {
  name: '${name}-roles'
  params: {
    workspaceName: workspaceName
    registryName: registryName
    storageName: storageName
    publishers: [{ id: identity.properties.principalId, type: 'ServicePrincipal' }]
    devices: []
    fileUsers: [{ id: identity.properties.principalId, type: 'ServicePrincipal' }]
    identityBased: identityBased
  }
}

// An instance with an identity stops when idle only where that identity is Contributor on the workspace.
resource mayStop 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(workspace.id, identity.id, contributor)
  scope: workspace
  properties: {
    principalId: identity.properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: contributor
    description: 'Stops its compute instance when idle'
  }
}

output id string = identity.id
