// Who may do what, each role on the one resource that it is for.
param workspaceName string
param registryName string
param storageName string

@description('Who publishes: {id, type} each.')
param publishers array

@description('Who only pulls images: {id, type} each.')
param devices array

@description('Whose share of files a compute instance mounts: {id, type} each.')
param fileUsers array

@description('Whether the datastores know people instead of keys.')
param identityBased bool

var dataScientist = subscriptionResourceId('Microsoft.Authorization/roleDefinitions', 'f6c7c914-8db3-469d-8ca1-694a8f32e121')
var acrPush = subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '8311e382-0749-4cb8-b61a-304f252e45ec')
var acrPull = subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '7f951dda-4ed3-4680-a7ca-43fe172d538d')
var blobContributor = subscriptionResourceId('Microsoft.Authorization/roleDefinitions', 'ba92f5b4-2d11-453d-a403-e96b0029c9fe')
var filePrivilegedContributor = subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '69566ab7-960f-475b-8e7c-b3118f30c6bd')

resource workspace 'Microsoft.MachineLearningServices/workspaces@2025-12-01' existing = {
  name: workspaceName
}

resource registry 'Microsoft.ContainerRegistry/registries@2025-11-01' existing = {
  name: registryName
}

resource storage 'Microsoft.Storage/storageAccounts@2025-06-01' existing = {
  name: storageName
}

resource mayRegister 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for publisher in publishers: {
  name: guid(workspace.id, publisher.id, dataScientist)
  scope: workspace
  properties: {
    principalId: publisher.id
    principalType: publisher.type
    roleDefinitionId: dataScientist
    description: 'Registers models'
  }
}]

resource mayPush 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for publisher in publishers: {
  name: guid(registry.id, publisher.id, acrPush)
  scope: registry
  properties: {
    principalId: publisher.id
    principalType: publisher.type
    roleDefinitionId: acrPush
    description: 'Pushes images, and reads back what was pushed'
  }
}]

resource mayPull 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for device in devices: {
  name: guid(registry.id, device.id, acrPull)
  scope: registry
  properties: {
    principalId: device.id
    principalType: device.type
    roleDefinitionId: acrPull
    description: 'Pulls images'
  }
}]

resource mayStore 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for publisher in (identityBased ? publishers : []): {
  name: guid(storage.id, publisher.id, blobContributor)
  scope: storage
  properties: {
    principalId: publisher.id
    principalType: publisher.type
    roleDefinitionId: blobContributor
    description: 'Uploads what is registered, where no keys are handed out'
  }
}]

resource mayMount 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for user in (identityBased ? fileUsers : []): {
  name: guid(storage.id, user.id, filePrivilegedContributor)
  scope: storage
  properties: {
    principalId: user.id
    principalType: user.type
    roleDefinitionId: filePrivilegedContributor
    description: 'Mounts the notebooks of a compute instance, where no keys are handed out'
  }
}]
