// A virtual network with two subnets, and the private names of what the app reaches in it.
param name string
param location string
param tags object

var zones = [
  'privatelink.blob.${environment().suffixes.storage}'
  'privatelink.queue.${environment().suffixes.storage}'
  'privatelink.table.${environment().suffixes.storage}'
  'privatelink.openai.azure.com'
  'privatelink.cognitiveservices.azure.com'
  'privatelink.search.windows.net'
  'privatelink.api.azureml.ms'
  'privatelink.notebooks.azure.net'
]

resource guard 'Microsoft.Network/networkSecurityGroups@2025-05-01' = {
  name: 'nsg-${name}'
  location: location
  tags: tags
  // Nothing from the internet comes in here: the platform's default rules say so, and none of ours opens them.
  properties: {}
}

resource network 'Microsoft.Network/virtualNetworks@2025-05-01' = {
  name: name
  location: location
  tags: tags
  properties: {
    addressSpace: {
      addressPrefixes: [
        '10.20.0.0/16'
      ]
    }
  }
}

// Flex Consumption takes an address per instance: 251 of them.
resource appSubnet 'Microsoft.Network/virtualNetworks/subnets@2025-05-01' = {
  parent: network
  name: 'app'
  properties: {
    addressPrefix: '10.20.0.0/24'
    networkSecurityGroup: {
      id: guard.id
    }
    delegations: [
      {
        name: 'flex-consumption'
        properties: {
          serviceName: 'Microsoft.App/environments'
        }
      }
    ]
  }
}

resource endpointsSubnet 'Microsoft.Network/virtualNetworks/subnets@2025-05-01' = {
  parent: network
  name: 'endpoints'
  properties: {
    addressPrefix: '10.20.1.0/24'
    networkSecurityGroup: {
      id: guard.id
    }
    privateEndpointNetworkPolicies: 'Enabled'
  }
  // Azure changes one subnet of a network at a time.
  dependsOn: [
    appSubnet
  ]
}

resource dnsZones 'Microsoft.Network/privateDnsZones@2024-06-01' = [for zone in zones: {
  name: zone
  location: 'global'
  tags: tags
}]

resource dnsLinks 'Microsoft.Network/privateDnsZones/virtualNetworkLinks@2024-06-01' = [for (zone, i) in zones: {
  parent: dnsZones[i]
  name: name
  location: 'global'
  tags: tags
  properties: {
    registrationEnabled: false
    virtualNetwork: {
      id: network.id
    }
  }
}]

output appSubnetId string = appSubnet.id
output endpointsSubnetId string = endpointsSubnet.id
