// The storage account: files of people, state of campaigns, queues, and what the Functions host keeps.
param name string
param location string
param tags object
param sku string
param auditRetentionDays int
param isPrivate bool
param clientAddresses array
param appPrincipalId string

// What people upload; then results, then state. The app makes what is missing, but here they can be granted to people.
var containers = [
  'customers'
  'outcomes'
  'content'
  'uploads'
  'campaigns'
  'instances'
  'active'
  'pending'
  'content-checks'
  'recalls'
  'tracking'
]

// One per queue function; the poison queue takes what was tried `maxDequeueCount` times.
var queues = [
  'orchestrate'
  'segment'
  'retrieve'
  'generate'
  'screen'
  'experiment'
  'close'
  'storage-events'
]

var addressRules = [for address in clientAddresses: {
  value: address
  action: 'Allow'
}]

resource account 'Microsoft.Storage/storageAccounts@2025-06-01' = {
  name: name
  location: location
  tags: tags
  kind: 'StorageV2'
  sku: {
    name: sku
  }
  properties: {
    accessTier: 'Hot'
    allowBlobPublicAccess: false
    allowCrossTenantReplication: false
    // Nobody can hold a key: every access is somebody's, in Entra. Upload addresses are signed by the app's identity.
    allowSharedKeyAccess: false
    defaultToOAuthAuthentication: true
    isLocalUserEnabled: false
    minimumTlsVersion: 'TLS1_2'
    supportsHttpsTrafficOnly: true
    networkAcls: {
      // `Deny` and not `publicNetworkAccess: Disabled`: Event Grid delivers as a trusted service, which needs the bypass.
      defaultAction: isPrivate ? 'Deny' : 'Allow'
      bypass: 'AzureServices'
      ipRules: addressRules
    }
  }
}

resource blobs 'Microsoft.Storage/storageAccounts/blobServices@2025-06-01' = {
  parent: account
  name: 'default'
  properties: {
    // What is deleted is gone: a purged campaign and an erased customer must not live on in a bin for weeks. Set both to
    // true where restoring matters more to you than erasing.
    deleteRetentionPolicy: {
      enabled: false
    }
    containerDeleteRetentionPolicy: {
      enabled: false
    }
    isVersioningEnabled: false
  }
}

resource dataContainers 'Microsoft.Storage/storageAccounts/blobServices/containers@2025-06-01' = [for container in containers: {
  parent: blobs
  name: container
  properties: {
    publicAccess: 'None'
  }
}]

// The function app's packages.
resource packages 'Microsoft.Storage/storageAccounts/blobServices/containers@2025-06-01' = {
  parent: blobs
  name: 'app-package'
  properties: {
    publicAccess: 'None'
  }
}

// Events that Event Grid could not deliver in a day.
resource deadLetters 'Microsoft.Storage/storageAccounts/blobServices/containers@2025-06-01' = {
  parent: blobs
  name: 'dead-letters'
  properties: {
    publicAccess: 'None'
  }
}

// For copies of campaigns' audit folders that not even an owner of the account can change.
resource audit 'Microsoft.Storage/storageAccounts/blobServices/containers@2025-06-01' = {
  parent: blobs
  name: 'audit'
  properties: {
    publicAccess: 'None'
  }
}

// Made unlocked, so that a mistake can be undone. Locking is for good and no template can do it: docs/deploy.md.
resource auditRetention 'Microsoft.Storage/storageAccounts/blobServices/containers/immutabilityPolicies@2025-06-01' = if (auditRetentionDays > 0) {
  parent: audit
  name: 'default'
  properties: {
    immutabilityPeriodSinceCreationInDays: auditRetentionDays
    allowProtectedAppendWrites: false
  }
}

resource queueService 'Microsoft.Storage/storageAccounts/queueServices@2025-06-01' = {
  parent: account
  name: 'default'
}

resource workQueues 'Microsoft.Storage/storageAccounts/queueServices/queues@2025-06-01' = [for queue in queues: {
  parent: queueService
  name: queue
}]

resource poisonQueues 'Microsoft.Storage/storageAccounts/queueServices/queues@2025-06-01' = [for queue in queues: {
  parent: queueService
  name: '${queue}-poison'
}]

// On the account and not on containers, because the host makes containers, queues and tables of its own.
var roles = [
  // Storage Blob Data Owner: what the Functions host asks for; covers leases, packages and the key that signs uploads.
  'b7e6dc6d-f1e8-4753-8033-0f276bb0955b'
  // Storage Queue Data Contributor: reads, sends and removes messages; makes poison queues.
  '974c5e8b-45b9-4653-ba55-5f855dd0fb88'
  // Storage Table Data Contributor: the host's diagnostic events.
  '0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3'
]

resource grants 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for role in roles: {
  name: guid(account.id, appPrincipalId, role)
  scope: account
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', role)
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
  }
}]

output id string = account.id
output name string = account.name
output packageContainer string = packages.name
