// The compute instance that the toolkit runs on.
param name string
param location string
param workspaceName string
param registryHost string
param size string
param idleMinutes int
param sshPublicKey string
param owner string
param identityId string
param toolkitRepository string
param toolkitRevision string
param tags object

var setup = loadFileAsBase64('../setup.sh')
var workspacePath = '${subscription().subscriptionId}/${resourceGroup().name}/${workspaceName}'
var toolkit = empty(toolkitRepository) ? '' : ' --repository ${toolkitRepository} --revision ${toolkitRevision}'

resource workspace 'Microsoft.MachineLearningServices/workspaces@2025-12-01' existing = {
  name: workspaceName
}

resource instance 'Microsoft.MachineLearningServices/workspaces/computes@2025-12-01' = {
  parent: workspace
  name: name
  location: location
  tags: tags
  identity: empty(identityId) ? null : {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${identityId}': {}
    }
  }
  properties: {
    computeType: 'ComputeInstance'
    disableLocalAuth: empty(sshPublicKey)
    properties: {
      vmSize: size
      applicationSharingPolicy: 'Personal'
      computeInstanceAuthorizationType: 'personal'
      personalComputeInstanceSettings: {
        assignedUser: {
          objectId: owner
          tenantId: subscription().tenantId
        }
      }
      idleTimeBeforeShutdown: 'PT${idleMinutes}M'
      sshSettings: {
        sshPublicAccess: empty(sshPublicKey) ? 'Disabled' : 'Enabled'
        adminPublicKey: empty(sshPublicKey) ? null : sshPublicKey
      }
      setupScripts: {
        scripts: {
          creationScript: {
            scriptSource: 'inline'
            scriptData: setup
            scriptArguments: 'install --workspace ${workspacePath} --registry ${registryHost}${toolkit}'
            timeout: '45m'
          }
          startupScript: {
            scriptSource: 'inline'
            scriptData: setup
            scriptArguments: 'start'
            timeout: '5m'
          }
        }
      }
    }
  }
}

output name string = instance.name
