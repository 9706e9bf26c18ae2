// The registry of images: no admin user, nothing without signing in.
param name string
param location string
param sku string
param tags object

resource registry 'Microsoft.ContainerRegistry/registries@2025-11-01' = {
  name: name
  location: location
  tags: tags
  sku: { name: sku }
  properties: {
    adminUserEnabled: false
    anonymousPullEnabled: false
    // AcrPush and AcrPull mean nothing where roles are given repository by repository.
    roleAssignmentMode: 'LegacyRegistryPermissions'
  }
}

output id string = registry.id
output name string = registry.name
output host string = registry.properties.loginServer
