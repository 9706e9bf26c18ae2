// What most people change. Every parameter is explained in main.bicep; README.md has the command.
using 'main.bicep'

param name = 'edge'
param owner = readEnvironmentVariable('EDGE_OWNER')
param publishers = []
param devices = []
param datastoreAccess = 'Identity'
param instanceSize = 'Standard_NC8as_T4_v3'
param idleMinutes = 60
param sshPublicKey = readEnvironmentVariable('EDGE_SSH_KEY', '')
param toolkitRepository = readEnvironmentVariable('EDGE_TOOLKIT', '')
param toolkitRevision = readEnvironmentVariable('EDGE_TOOLKIT_COMMIT', '')
