// The Azure ML workspace. Its own identity is given what it needs on these resources by the service that makes it.
param name string
param location string
param storageId string
param vaultId string
param insightsId string
param registryId string
param datastoreAccess string
param tags object

resource workspace 'Microsoft.MachineLearningServices/workspaces@2025-12-01' = {
  name: name
  location: location
  tags: tags
  kind: 'Default'
  sku: { name: 'Basic', tier: 'Basic' }
  identity: { type: 'SystemAssigned' }
  properties: {
    friendlyName: name
    description: 'Models and images for edge devices'
    storageAccount: storageId
    keyVault: vaultId
    applicationInsights: insightsId
    containerRegistry: registryId
    systemDatastoresAuthMode: datastoreAccess
    v1LegacyMode: false
    publicNetworkAccess: 'Enabled'
  }
}

output name string = workspace.name
